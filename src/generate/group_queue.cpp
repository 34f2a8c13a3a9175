// SPDX-License-Identifier: Apache-2.0
#include "generate/group_queue.h"

namespace selvage {

GroupQueue::GroupQueue(Communicator& data, Communicator* group, std::int64_t count, std::int64_t ahead)
    : group_(group != nullptr && group->size() > 1 ? group : nullptr) {
    if (group_ == nullptr || group_->rank() == 0) queue_.emplace(data, count, ahead);
}

// What the first rank finds by `ask`, on all.
template <class Ask>
std::int64_t GroupQueue::heard(Ask const& ask) {
    std::int64_t value = queue_ ? ask() : 0;
    if (group_ != nullptr) group_->broadcast(std::as_writable_bytes(std::span(&value, 1)), 0);
    return value;
}

std::optional<std::int64_t> GroupQueue::next() {
    constexpr std::int64_t none = -1;
    std::int64_t const item = heard([&] { return queue_->next().value_or(none); });
    return item == none ? std::nullopt : std::optional(item);
}

bool GroupQueue::exhausted() {
    return heard([&] { return std::int64_t{queue_->exhausted()}; }) != 0;
}

bool GroupQueue::progress(bool go_on) {
    if (queue_) queue_->progress();
    if (group_ != nullptr) go_on = min_over(*group_, go_on && !(queue_ && queue_->stopped()) ? 1 : 0) != 0;
    if (!queue_) return go_on;
    if (!go_on) queue_->stop();
    return !queue_->stopped();
}

void GroupQueue::finish() {
    if (queue_) queue_->finish();
}

}  // namespace selvage
