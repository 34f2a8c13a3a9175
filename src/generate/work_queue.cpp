// SPDX-License-Identifier: Apache-2.0
#include "generate/work_queue.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/error.h"
#include "tensor/layout.h"

namespace selvage {
namespace {

constexpr int request_tag = 201;
constexpr int answer_tag = 202;
constexpr auto nap = std::chrono::microseconds(50);

// What a rank wants: more items, or nothing more (it stops before the items end).
enum class Wish : std::uint8_t { items = 0, end = 1 };

template <class T>
std::span<std::byte const> bytes_of(T const& value) {
    return std::as_bytes(std::span(&value, 1));
}

template <class T>
T value_of(std::span<std::byte const> bytes) {
    T value;
    SELVAGE_CHECK(bytes.size() == sizeof(T), "a message of {} bytes instead of {}", bytes.size(), sizeof(T));
    std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
}

}  // namespace

WorkQueue::WorkQueue(Communicator& axis, std::int64_t count, std::int64_t ahead)
    : axis_(axis), count_(count), ahead_(std::max<std::int64_t>(ahead, 1)) {
    if (axis_.rank() != 0) ask();
}

WorkQueue::~WorkQueue() = default;

void WorkQueue::ask() {
    axis_.send(bytes_of(Wish::items), 0, request_tag);
    asked_ = true;
}

void WorkQueue::take_answer(std::span<std::byte const> answer) {
    Range const range = value_of<Range>(answer);
    for (std::int64_t item = range.begin; item < range.end; ++item) items_.push_back(item);
    asked_ = false;
    ended_ = range.size() == 0;
    low_ = static_cast<std::int64_t>(items_.size()) / 2;
}

// Blocks shrink with what is left, so that the last ones are spread over all ranks.
void WorkQueue::serve(Message const& request) {
    std::int64_t const left = count_ - counter_;
    std::int64_t block = std::min({left, ahead_, std::max<std::int64_t>(1, left / (2 * axis_.size()))});
    if (value_of<Wish>(request.bytes) == Wish::end) block = 0;
    Range const range{counter_, counter_ + block};
    counter_ += block;
    if (block == 0) ++told_;
    axis_.send(bytes_of(range), request.source, answer_tag);
}

std::optional<std::int64_t> WorkQueue::next() {
    progress();
    if (axis_.rank() == 0) {
        if (counter_ == count_) return std::nullopt;
        return counter_++;
    }
    if (items_.empty()) return std::nullopt;
    std::int64_t const item = items_.front();
    items_.pop_front();
    if (!asked_ && !ended_ && static_cast<std::int64_t>(items_.size()) <= low_) ask();
    return item;
}

bool WorkQueue::exhausted() {
    progress();
    return axis_.rank() == 0 ? counter_ == count_ : ended_ && items_.empty();
}

void WorkQueue::progress() {
    Message message;
    if (axis_.rank() == 0) {
        while (told_ < axis_.size() - 1 && axis_.poll(request_tag, message)) serve(message);
    } else if (asked_ && axis_.poll(answer_tag, message)) {
        take_answer(message.bytes);
    }
}

void WorkQueue::finish() {
    if (axis_.rank() == 0) {
        while (told_ < axis_.size() - 1) {
            progress();
            if (told_ < axis_.size() - 1) std::this_thread::sleep_for(nap);
        }
    } else {
        if (asked_) take_answer(axis_.receive(0, answer_tag));
        if (!ended_) {
            axis_.send(bytes_of(Wish::end), 0, request_tag);
            take_answer(axis_.receive(0, answer_tag));
        }
        items_.clear();
    }
    // Nobody may ask a next queue on this axis while rank 0 still serves this one.
    axis_.barrier();
}

}  // namespace selvage
