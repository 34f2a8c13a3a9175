// SPDX-License-Identifier: Apache-2.0
#include "model/word_exchange.h"

#include "base/error.h"

namespace selvage {

WordExchange::WordExchange(Communicator& axis)
    : axis_(axis), first_(static_cast<std::size_t>(axis.size())), bytes_(first_.size()) {}

void WordExchange::gather(std::span<std::size_t const> counts) {
    std::size_t words = 0;
    for (std::size_t rank = 0; rank < first_.size(); ++rank) {
        std::size_t const count = counts.empty() ? own_.size() : counts[rank];
        first_[rank] = words;
        bytes_[rank] = count * sizeof(std::uint64_t);
        words += count;
    }
    all_.resize(words);
    auto const send = std::as_bytes(std::span(own_));
    auto const receive = std::as_writable_bytes(std::span(all_));
    if (counts.empty())
        axis_.all_gather(send, receive);
    else if (words > 0)
        axis_.all_gather_v(send, receive, bytes_);
    own_.clear();
}

}  // namespace selvage
