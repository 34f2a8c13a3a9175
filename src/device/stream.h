// SPDX-License-Identifier: Apache-2.0
#pragma once
// In-order queues of work, and the small things that go along with the work.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

namespace selvage {

enum class DeviceKind : std::uint8_t { cpu, cuda };

class Device;

// Work that a stream has recorded, see Stream::record_work().
class Recording {
  public:
    virtual ~Recording() = default;
};

// What a device that works by itself has behind a Stream. Devices make it; kernels use upload(), download(), scratch().
class StreamQueue {
  public:
    virtual ~StreamQueue() = default;
    virtual void* native() const = 0;
    virtual void synchronize() = 0;
    virtual bool done() const = 0;
    virtual void const* upload(void const* host, std::size_t bytes) = 0;
    // Any size. `host` may be reused on return.
    virtual void copy_to_device(void* device_memory, void const* host, std::size_t bytes) = 0;
    // Within device memory.
    virtual void copy(void* to, void const* from, std::size_t bytes) = 0;
    virtual void download(void* host, void const* device_memory, std::size_t bytes) = 0;
    virtual void* scratch(std::size_t bytes) = 0;
    // Of what is put in between the two; keep: false after an error, there is no recording then.
    virtual void begin_recording() = 0;
    virtual std::unique_ptr<Recording> end_recording(bool keep) = 0;
    virtual void replay(Recording& recording) = 0;
};

// A place in a stream, for other streams to wait for.
class EventMark {
  public:
    virtual ~EventMark() = default;
    virtual void record(StreamQueue& queue) = 0;
    virtual void wait(StreamQueue& queue) const = 0;
};

class Event {
  public:
    explicit Event(Device& device);

  private:
    friend class Stream;
    std::unique_ptr<EventMark> mark_;  // null where calls have done their work when they return
};

// An in-order queue of work. Kernels take one and return at once; on the CPU they have finished when the call returns.
// A handle: a copy is the same queue. The device must outlive it.
class Stream {
  public:
    explicit Stream(Device& device);
    explicit Stream(DeviceKind device);  // of the CPU, which needs nothing more
    DeviceKind device() const { return device_; }
    // Returns when everything that was put in before is done.
    void synchronize();
    // Whether it would return at once.
    bool done() const { return queue_ == nullptr || queue_->done(); }
    // The event stands for what is in this stream now; a later record() replaces that.
    void record(Event& event);
    // What comes later in this stream starts after what `event` stands for.
    void wait(Event const& event);
    // What work() puts into the stream is not done, but kept: kernels with the arguments that they were given, copies
    // within the device, scratch(). Everything else that touches the stream is an error, and so is memory that is
    // allocated: run the same work once before. Null on the CPU, where work() is not called.
    std::unique_ptr<Recording> record_work(std::function<void()> const& work);
    // Does what was recorded, as one piece of work. The memory that it names must be there.
    void replay(Recording& recording) { queue_->replay(recording); }
    void* native() const;  // cudaStream_t; null where there is none
    StreamQueue* queue() const { return queue_.get(); }

  private:
    DeviceKind device_;
    std::shared_ptr<StreamQueue> queue_;  // null on the CPU
};

// For kernels: a small array of the host's as the device sees it, for what is launched on the stream next; it stays at
// least until 8 more uploads were made. `host` may be reused at once. Never waits but to grow.
template <class T>
T const* upload(std::span<T const> host, Stream& stream) {
    if (stream.queue() == nullptr) return host.data();
    return static_cast<T const*>(stream.queue()->upload(host.data(), host.size_bytes()));
}

// For kernels: small results to the host. Waits for the stream.
template <class T>
void download(std::span<T> host, T const* device_memory, Stream& stream) {
    stream.queue()->download(host.data(), device_memory, host.size_bytes());
}

// For kernels: device memory, aligned to 256 bytes, that holds nothing in particular, for what is launched on the
// stream until scratch() is called for it again. It grows only, and an address once given stays valid memory.
template <class T>
T* scratch(std::size_t count, Stream& stream) {
    return static_cast<T*>(stream.queue()->scratch(count * sizeof(T)));
}

}  // namespace selvage
