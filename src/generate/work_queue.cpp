// SPDX-License-Identifier: Apache-2.0
#include "generate/work_queue.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/heartbeat.h"
#include "tensor/layout.h"

namespace selvage {
namespace {

constexpr int request_tag = 201;
constexpr int answer_tag = 202;
constexpr int stop_tag = 203;
constexpr auto nap = std::chrono::microseconds(50);

// What a rank asks for: a number of items, or nothing more (it stops before the items end).
constexpr std::int64_t no_more = -1;

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
    counter_ = std::min(count_, ahead_ * axis_.size());
    Range const first = EvenSplit(counter_, axis_.size()).part(axis_.rank());
    for (std::int64_t item = first.begin; item < first.end; ++item) items_.push_back(item);
}

WorkQueue::~WorkQueue() = default;

void WorkQueue::ask(std::int64_t items) {
    axis_.send(bytes_of(items), 0, request_tag);
    asked_ = true;
}

void WorkQueue::ask_ahead() {
    auto const held = static_cast<std::int64_t>(items_.size());
    if (axis_.rank() != 0 && !asked_ && !ended_ && held < reserve_) ask(reserve_ - held);
}

void WorkQueue::take_answer(std::span<std::byte const> answer) {
    Range const range = value_of<Range>(answer);
    for (std::int64_t item = range.begin; item < range.end; ++item) items_.push_back(item);
    asked_ = false;
    ended_ = range.size() == 0;
    reserve_ = std::clamp<std::int64_t>(starved_ ? 2 * reserve_ : taken_, 1, ahead_);
    taken_ = 0;
    starved_ = false;
}

// On rank 0: nothing more is handed out, and the others are told to drop what they hold.
void WorkQueue::stop_all() {
    counter_ = count_;
    items_.clear();
    if (std::exchange(stopped_, true)) return;
    for (int rank = 1; rank < axis_.size(); ++rank) axis_.send({}, rank, stop_tag);
}

void WorkQueue::stop() {
    if (axis_.rank() == 0) return stop_all();
    stopped_ = true;  // rank 0 learns it from finish()
    items_.clear();
}

// Blocks shrink with what is left, so that the last ones are spread over all ranks.
void WorkQueue::serve(Message const& request) {
    auto const wanted = value_of<std::int64_t>(request.bytes);
    if (wanted == no_more) stop_all();
    std::int64_t const left = count_ - counter_;
    std::int64_t const block =
        std::min({left, std::max<std::int64_t>(wanted, 0), std::max<std::int64_t>(1, left / (2 * axis_.size()))});
    Range const range{counter_, counter_ + block};
    counter_ += block;
    if (block == 0) ++told_;
    axis_.send(bytes_of(range), request.source, answer_tag);
}

std::optional<std::int64_t> WorkQueue::next() {
    progress();
    if (items_.empty()) {
        if (axis_.rank() == 0 && counter_ < count_) return counter_++;
        starved_ = true;
        ask_ahead();
        return std::nullopt;
    }
    std::int64_t const item = items_.front();
    items_.pop_front();
    ++taken_;
    ask_ahead();
    return item;
}

bool WorkQueue::exhausted() {
    progress();
    if (!items_.empty()) return false;
    if (axis_.rank() == 0) return counter_ == count_;
    ask_ahead();
    return ended_;
}

void WorkQueue::progress() {
    Message message;
    if (axis_.rank() == 0) {
        while (told_ < axis_.size() - 1 && axis_.poll(request_tag, message)) serve(message);
        return;
    }
    if (asked_ && axis_.poll(answer_tag, message)) take_answer(message.bytes);
    if (!told_stop_ && axis_.poll(stop_tag, message)) told_stop_ = stopped_ = true;
    if (stopped_) items_.clear();
}

void WorkQueue::finish() {
    WaitingForOthers const waiting;
    if (axis_.rank() == 0) {
        while (told_ < axis_.size() - 1) {
            progress();
            if (told_ < axis_.size() - 1) std::this_thread::sleep_for(nap);
        }
    } else {
        if (asked_) take_answer(axis_.receive(0, answer_tag));
        if (!ended_) {
            ask(no_more);
            take_answer(axis_.receive(0, answer_tag));
        }
        items_.clear();
    }
    // Nobody may ask a next queue on this axis while rank 0 still serves this one: it comes here after its last answer.
    std::uint8_t told = stopped_ ? 1 : 0;
    axis_.broadcast(std::as_writable_bytes(std::span(&told, 1)), 0);
    if (axis_.rank() != 0 && told != 0 && !told_stop_) axis_.receive(0, stop_tag);
    stopped_ = stopped_ || told != 0;
}

}  // namespace selvage
