// SPDX-License-Identifier: Apache-2.0
#include "comm/nccl/nccl_collectives.h"

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <mutex>
#include <string>

#include "base/error.h"
#include "device/cuda/check.h"

namespace selvage {
namespace {

using Counts = std::span<std::size_t const>;

void check_nccl(ncclResult_t result, char const* call, ncclComm_t communicator = nullptr) {
    if (result == ncclSuccess) return;
    fail(ExitCode::system, "{} failed ({}): {}", call, ncclGetErrorString(result), ncclGetLastError(communicator));
}

class NcclCollectives final : public DeviceCollectives, private Watch {
  public:
    NcclCollectives(Communicator& communicator, Device& device) : ranks_(communicator), device_(device) {
        ncclUniqueId id{};
        agree(ranks_, [&] {
            if (ranks_.rank() == 0) check_nccl(ncclGetUniqueId(&id), "ncclGetUniqueId");
        });
        ranks_.broadcast(std::as_writable_bytes(std::span(&id, 1)), 0);
        ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
        check_nccl(ncclCommInitRankConfig(&nccl_, ranks_.size(), id, ranks_.rank(), &config), "ncclCommInitRankConfig");
        device_.watches().add(*this);
    }
    NcclCollectives(NcclCollectives const&) = delete;
    NcclCollectives& operator=(NcclCollectives const&) = delete;
    ~NcclCollectives() override {
        device_.watches().remove(*this);
        // On the way out of an error the others may be gone, and ncclCommDestroy would wait for them.
        if (std::uncaught_exceptions() > 0) abort();
        if (!aborted_) ncclCommDestroy(nccl_);
    }
    Communicator& ranks() const override { return ranks_; }

    void all_gather(std::span<std::byte> all, Counts counts, Stream& stream) override {
        expect_whole();
        std::size_t const first = counts.front();
        auto const me = static_cast<std::size_t>(ranks_.rank());
        if (std::ranges::all_of(counts, [&](std::size_t count) { return count == first; }))
            return all_gather(all, all.subspan(me * first, first), stream);
        check(ncclGroupStart(), "ncclGroupStart");
        std::size_t at = 0;
        for (std::size_t r = 0; r < counts.size(); at += counts[r], ++r)
            if (counts[r] > 0)
                check(ncclBroadcast(all.data() + at, all.data() + at, counts[r], ncclUint8, static_cast<int>(r), nccl_,
                                    native(stream)),
                      "ncclBroadcast");
        check(ncclGroupEnd(), "ncclGroupEnd");
    }
    void all_gather(std::span<std::byte> recv, std::span<std::byte const> send, Stream& stream) override {
        expect_whole();
        if (send.empty()) return;
        check(ncclAllGather(send.data(), recv.data(), send.size(), ncclUint8, nccl_, native(stream)), "ncclAllGather");
    }
    void all_to_all_v(std::span<std::byte> recv, Counts recv_counts, std::span<std::byte const> send,
                      Counts send_counts, Stream& stream) override {
        expect_whole();
        auto const me = static_cast<std::size_t>(ranks_.rank());
        check(ncclGroupStart(), "ncclGroupStart");
        std::size_t sent = 0, received = 0;
        for (std::size_t r = 0; r < send_counts.size(); sent += send_counts[r], received += recv_counts[r], ++r) {
            int const peer = static_cast<int>(r);
            if (r == me) {
                if (send_counts[r] > 0)
                    stream.queue()->copy(recv.data() + received, send.data() + sent, send_counts[r]);
                continue;
            }
            if (send_counts[r] > 0)
                check(ncclSend(send.data() + sent, send_counts[r], ncclUint8, peer, nccl_, native(stream)), "ncclSend");
            if (recv_counts[r] > 0)
                check(ncclRecv(recv.data() + received, recv_counts[r], ncclUint8, peer, nccl_, native(stream)),
                      "ncclRecv");
        }
        check(ncclGroupEnd(), "ncclGroupEnd");
    }
    bool only_streams() const override { return true; }
    void abort() noexcept override {
        std::scoped_lock const lock(mutex_);
        end();
    }
    std::string_view transport() const override { return "NCCL"; }

  private:
    static cudaStream_t native(Stream& stream) { return static_cast<cudaStream_t>(stream.native()); }
    void check(ncclResult_t result, char const* call) const { check_nccl(result, call, nccl_); }
    void expect_whole() const {
        if (aborted_) fail(ExitCode::system, "NCCL: another rank has failed");
    }
    // With the lock held.
    void end() {
        if (!aborted_.exchange(true)) ncclCommAbort(nccl_);
    }
    // Errors of the network and of other ranks show here alone: the kernels of this rank would wait for ever.
    void look() override {
        std::scoped_lock const lock(mutex_);
        expect_whole();
        ncclResult_t state = ncclSuccess;
        check_nccl(ncclCommGetAsyncError(nccl_, &state), "ncclCommGetAsyncError", nccl_);
        if (state == ncclSuccess || state == ncclInProgress) return;
        std::string const what = ncclGetLastError(nccl_);
        end();
        fail(ExitCode::system, "NCCL lost another rank ({}): {}", ncclGetErrorString(state), what);
    }

    Communicator& ranks_;
    Device& device_;
    ncclComm_t nccl_ = nullptr;
    std::mutex mutex_;  // one thread may look while another gives up
    std::atomic<bool> aborted_ = false;
};

}  // namespace

GpuIdentity gpu_identity() {
    int device = 0;
    SELVAGE_CUDA_CHECK(cudaGetDevice(&device));
    cudaDeviceProp properties{};
    SELVAGE_CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
    GpuIdentity identity;
    static_assert(sizeof identity.uuid == sizeof properties.uuid);
    std::memcpy(identity.uuid.data(), &properties.uuid, identity.uuid.size());
    int const place[] = {properties.pciDomainID, properties.pciBusID, properties.pciDeviceID};
    std::memcpy(identity.place.data(), place, sizeof place);
    return identity;
}

std::unique_ptr<DeviceCollectives> make_nccl_collectives(Communicator& communicator, Device& device) {
    return std::make_unique<NcclCollectives>(communicator, device);
}

}  // namespace selvage
