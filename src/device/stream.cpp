// SPDX-License-Identifier: Apache-2.0
#include "device/stream.h"

#include "base/error.h"
#include "device/device.h"

namespace selvage {

Event::Event(Device& device) : mark_(device.make_event()) {}

Stream::Stream(Device& device) : device_(device.kind()), queue_(device.make_queue()) {}

Stream::Stream(DeviceKind device) : device_(device) {
    SELVAGE_CHECK(device == DeviceKind::cpu, "a stream of device {} without the device", static_cast<int>(device));
}

void Stream::synchronize() {
    if (queue_ != nullptr) queue_->synchronize();
}

void Stream::record(Event& event) {
    if (event.mark_ != nullptr) event.mark_->record(*queue_);
}

void Stream::wait(Event const& event) {
    if (event.mark_ != nullptr) event.mark_->wait(*queue_);
}

std::unique_ptr<Recording> Stream::record_work(std::function<void()> const& work) {
    if (queue_ == nullptr) return nullptr;
    queue_->begin_recording();
    try {
        work();
    } catch (...) {
        queue_->end_recording(false);
        throw;
    }
    return queue_->end_recording(true);
}

void* Stream::native() const { return queue_ == nullptr ? nullptr : queue_->native(); }

}  // namespace selvage
