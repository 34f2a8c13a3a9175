// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/cuda_queue.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "device/cuda/check.h"

namespace selvage {
namespace {

constexpr std::size_t alignment = 256;
constexpr std::size_t first_half = std::size_t{1} << 20;
constexpr std::size_t largest_piece = std::size_t{4} << 20;  // of a copy; half of the pinned memory it goes through
constexpr std::size_t uploads_that_last = 16;                // in half a ring; twice what upload() promises

constexpr std::size_t worth_asking = std::size_t{64} << 10;  // below, the way through pinned memory is as fast

bool is_pinned(void const* host) {
    cudaPointerAttributes attributes{};
    bool const known = cudaPointerGetAttributes(&attributes, host) == cudaSuccess;
    if (!known) cudaGetLastError();
    return known && attributes.type == cudaMemoryTypeHost;
}

// Of a query.
bool is_done(cudaError_t status) {
    if (status == cudaErrorNotReady) return false;
    SELVAGE_CUDA_CHECK(status);
    return true;
}

std::size_t padded(std::size_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

class CudaEvent final : public EventMark {
  public:
    CudaEvent() { SELVAGE_CUDA_CHECK(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming)); }
    CudaEvent(CudaEvent const&) = delete;
    CudaEvent& operator=(CudaEvent const&) = delete;
    ~CudaEvent() override { cudaEventDestroy(event_); }
    void record(StreamQueue& queue) override {
        SELVAGE_CUDA_CHECK(cudaEventRecord(event_, static_cast<cudaStream_t>(queue.native())));
    }
    void wait(StreamQueue& queue) const override {
        SELVAGE_CUDA_CHECK(cudaStreamWaitEvent(static_cast<cudaStream_t>(queue.native()), event_, 0));
    }
    bool is_past() const { return is_done(cudaEventQuery(event_)); }

  private:
    cudaEvent_t event_ = nullptr;
};

class DeviceBlock {
  public:
    explicit DeviceBlock(std::size_t bytes) { SELVAGE_CUDA_CHECK(cudaMalloc(&memory_, bytes)); }
    DeviceBlock(DeviceBlock const&) = delete;
    DeviceBlock& operator=(DeviceBlock const&) = delete;
    ~DeviceBlock() { cudaFree(memory_); }
    std::byte* data() const { return static_cast<std::byte*>(memory_); }

  private:
    void* memory_ = nullptr;
};

class PinnedBlock {
  public:
    explicit PinnedBlock(std::size_t bytes) { SELVAGE_CUDA_CHECK(cudaMallocHost(&memory_, bytes)); }
    PinnedBlock(PinnedBlock const&) = delete;
    PinnedBlock& operator=(PinnedBlock const&) = delete;
    ~PinnedBlock() { cudaFreeHost(memory_); }
    std::byte* data() const { return static_cast<std::byte*>(memory_); }

  private:
    void* memory_ = nullptr;
};

// Pinned memory in two halves; a half is used again when the stream has passed the event at its end.
class PinnedRing {
  public:
    PinnedRing(std::size_t half, Watches& watches) : half_(half), memory_(2 * half), watches_(watches) {}
    std::size_t half() const { return half_; }
    std::byte* data() const { return memory_.data(); }
    // The offset of `bytes`, at most half().
    std::size_t take(std::size_t bytes, StreamQueue& queue) {
        bytes = padded(bytes);
        if (used_ + bytes > half_) {
            events_[current_].record(queue);
            current_ = 1 - current_;
            watches_.wait_until([this] { return events_[current_].is_past(); });  // never recorded: past
            used_ = 0;
        }
        std::size_t const offset = current_ * half_ + used_;
        used_ += bytes;
        return offset;
    }

  private:
    std::size_t half_;
    PinnedBlock memory_;
    Watches& watches_;
    std::array<CudaEvent, 2> events_;
    std::size_t current_ = 0;
    std::size_t used_ = 0;
};

class CudaRecording final : public Recording {
  public:
    explicit CudaRecording(cudaGraph_t graph) {
        cudaError_t const status = cudaGraphInstantiate(&graph_, graph, 0);
        cudaGraphDestroy(graph);
        check_cuda(status, "cudaGraphInstantiate", __FILE__, __LINE__);
    }
    CudaRecording(CudaRecording const&) = delete;
    CudaRecording& operator=(CudaRecording const&) = delete;
    ~CudaRecording() override { cudaGraphExecDestroy(graph_); }
    cudaGraphExec_t graph() const { return graph_; }

  private:
    cudaGraphExec_t graph_ = nullptr;
};

class Queue final : public StreamQueue {
  public:
    explicit Queue(Watches& watches) : watches_(watches) {
        SELVAGE_CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    }
    Queue(Queue const&) = delete;
    Queue& operator=(Queue const&) = delete;
    ~Queue() override {
        cudaStreamSynchronize(stream_);
        cudaStreamDestroy(stream_);
    }
    void* native() const override { return stream_; }
    void synchronize() override {
        if (watches_.empty()) return SELVAGE_CUDA_CHECK(cudaStreamSynchronize(stream_));
        watches_.wait_until([this] { return done(); });
    }
    bool done() const override { return is_done(cudaStreamQuery(stream_)); }

    void const* upload(void const* host, std::size_t bytes) override {
        expect_no_recording("upload");
        std::size_t const wanted = padded(bytes) * uploads_that_last;
        if (uploads_ == nullptr || uploads_->half() < wanted) {
            std::size_t const half = std::max({wanted, first_half, uploads_ == nullptr ? 0 : 2 * uploads_->half()});
            synchronize();
            uploads_ = std::make_unique<PinnedRing>(half, watches_);
            blocks_.push_back(std::make_unique<DeviceBlock>(2 * half));
            uploaded_ = blocks_.back()->data();
        }
        std::size_t const offset = uploads_->take(bytes, *this);
        copy_through(uploaded_ + offset, host, bytes, uploads_->data() + offset);
        return uploaded_ + offset;
    }

    void copy_to_device(void* device_memory, void const* host, std::size_t bytes) override {
        expect_no_recording("copy_to_device");
        if (bytes >= worth_asking && is_pinned(host)) {
            SELVAGE_CUDA_CHECK(cudaMemcpyAsync(device_memory, host, bytes, cudaMemcpyHostToDevice, stream_));
            return synchronize();  // the caller may write to it again
        }
        if (pieces_ == nullptr) pieces_ = std::make_unique<PinnedRing>(largest_piece, watches_);
        for (std::size_t done = 0; done < bytes; done += largest_piece) {
            std::size_t const piece = std::min(largest_piece, bytes - done);
            std::size_t const offset = pieces_->take(piece, *this);
            copy_through(static_cast<std::byte*>(device_memory) + done, static_cast<std::byte const*>(host) + done,
                         piece, pieces_->data() + offset);
        }
    }

    void copy(void* to, void const* from, std::size_t bytes) override {
        SELVAGE_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_));
    }

    void download(void* host, void const* device_memory, std::size_t bytes) override {
        expect_no_recording("download");
        if (bytes >= worth_asking && is_pinned(host)) {
            SELVAGE_CUDA_CHECK(cudaMemcpyAsync(host, device_memory, bytes, cudaMemcpyDeviceToHost, stream_));
            return synchronize();
        }
        if (down_ == nullptr) down_ = std::make_unique<PinnedBlock>(largest_piece);
        for (std::size_t done = 0; done < bytes; done += largest_piece) {
            std::size_t const piece = std::min(largest_piece, bytes - done);
            SELVAGE_CUDA_CHECK(cudaMemcpyAsync(down_->data(), static_cast<std::byte const*>(device_memory) + done,
                                               piece, cudaMemcpyDeviceToHost, stream_));
            synchronize();
            std::memcpy(static_cast<std::byte*>(host) + done, down_->data(), piece);
        }
    }

    void* scratch(std::size_t bytes) override {
        if (bytes > scratch_bytes_) {
            scratch_bytes_ = std::max(padded(bytes), 2 * scratch_bytes_);
            blocks_.push_back(std::make_unique<DeviceBlock>(scratch_bytes_));
            scratch_ = blocks_.back()->data();
        }
        return scratch_;
    }

    // What another thread does, on streams of its own, is not in the way.
    void begin_recording() override {
        SELVAGE_CUDA_CHECK(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
        recording_ = true;
    }
    std::unique_ptr<Recording> end_recording(bool keep) override {
        recording_ = false;
        cudaGraph_t graph = nullptr;
        cudaError_t const status = cudaStreamEndCapture(stream_, &graph);
        if (!keep) {
            cudaGetLastError();
            if (graph != nullptr) cudaGraphDestroy(graph);
            return nullptr;
        }
        check_cuda(status, "cudaStreamEndCapture", __FILE__, __LINE__);
        return std::make_unique<CudaRecording>(graph);
    }
    void replay(Recording& recording) override {
        SELVAGE_CUDA_CHECK(cudaGraphLaunch(static_cast<CudaRecording&>(recording).graph(), stream_));
    }

  private:
    void expect_no_recording(char const* call) const { SELVAGE_CHECK(!recording_, "{} while a stream records", call); }

    void copy_through(std::byte* device_memory, void const* host, std::size_t bytes, std::byte* pinned) {
        if (bytes == 0) return;
        std::memcpy(pinned, host, bytes);
        SELVAGE_CUDA_CHECK(cudaMemcpyAsync(device_memory, pinned, bytes, cudaMemcpyHostToDevice, stream_));
    }

    Watches& watches_;
    cudaStream_t stream_ = nullptr;
    bool recording_ = false;
    std::unique_ptr<PinnedRing> uploads_;  // offsets are those in `uploaded_` too
    std::byte* uploaded_ = nullptr;
    std::unique_ptr<PinnedRing> pieces_;
    std::unique_ptr<PinnedBlock> down_;
    std::byte* scratch_ = nullptr;
    std::size_t scratch_bytes_ = 0;
    // All device memory up to now: earlier uploads and recorded work may still name what was outgrown.
    std::vector<std::unique_ptr<DeviceBlock>> blocks_;
};

}  // namespace

std::unique_ptr<StreamQueue> make_cuda_queue(int device, Watches& watches) {
    SELVAGE_CUDA_CHECK(cudaSetDevice(device));
    return std::make_unique<Queue>(watches);
}

std::unique_ptr<EventMark> make_cuda_event(int device) {
    SELVAGE_CUDA_CHECK(cudaSetDevice(device));
    return std::make_unique<CudaEvent>();
}

}  // namespace selvage
