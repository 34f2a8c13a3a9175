// SPDX-License-Identifier: Apache-2.0
#include "io/regrouping.h"

#include <algorithm>

namespace selvage::io {
namespace {

void check_whole(std::vector<HeldShard> held, std::int64_t tensor_ranks, std::int64_t flat_size) {
    std::erase_if(held, [](HeldShard const& one) { return one.elements.size() == 0; });
    std::sort(held.begin(), held.end(), [](HeldShard const& a, HeldShard const& b) {
        return a.tensor_rank != b.tensor_rank ? a.tensor_rank < b.tensor_rank : a.elements.begin < b.elements.begin;
    });
    auto next = held.begin();
    for (std::int64_t tensor = 0; tensor < tensor_ranks; ++tensor) {
        std::int64_t at = 0;
        for (; next != held.end() && next->tensor_rank == tensor; ++next) {
            SELVAGE_CHECK(next->elements.begin == at, "shards of the optimizer leave {} to {} open or twice", at,
                          next->elements.begin);
            at = next->elements.end;
        }
        SELVAGE_CHECK(at == flat_size, "shards of the optimizer end at {} of {}", at, flat_size);
    }
}

}  // namespace

Regrouping::Regrouping(Communicator& all, std::vector<int> const& writers, ParameterSet const& parameters,
                       HeldShard held)
    : all_(all), writers_(writers), held_(static_cast<std::size_t>(all.size())) {
    all.all_gather(std::as_bytes(std::span(&held, 1)), std::as_writable_bytes(std::span(held_)));
    check_whole(held_, parameters.ranks(), parameters.flat_size());
}

// Of what several tensor ranks hold the first one sends.
Range Regrouping::sent_by(std::size_t rank, Parameter const& parameter, Range wanted) const {
    HeldShard const& held = held_[rank];
    auto const tensor = static_cast<int>(held.tensor_rank);
    if (first_holder(parameter.spec.cut, tensor) != tensor) return {};
    Range const part = held_among(placement_on(parameter.spec, tensor), wanted);
    return held.elements.intersect({parameter.offset + part.begin, parameter.offset + part.end});
}

std::vector<float> Regrouping::bring(FloatReader& mine, Parameter const& parameter, std::vector<Range> const& wanted) {
    auto const ranks = static_cast<std::size_t>(all_.size());
    auto const me = static_cast<std::size_t>(all_.rank());
    std::vector<std::size_t> send_counts(ranks), recv_counts(ranks);
    std::vector<float> send;
    Range here{};
    for (std::size_t w = 0; w < writers_.size(); ++w) {
        auto const writer = static_cast<std::size_t>(writers_[w]);
        if (writer == me) here = wanted[w];
        Range const part = sent_by(me, parameter, wanted[w]);
        if (part.size() == 0) continue;
        std::int64_t const first = held_[me].elements.begin;
        std::span<float const> const from = mine.read({part.begin - first, part.end - first});
        send.insert(send.end(), from.begin(), from.end());
        send_counts[writer] = from.size_bytes();
    }
    std::size_t total = 0;
    for (std::size_t r = 0; r < ranks; ++r) {
        auto const count = static_cast<std::size_t>(sent_by(r, parameter, here).size());
        recv_counts[r] = count * sizeof(float);
        total += count;
    }
    std::vector<float> received(total);
    all_.all_to_all_v(std::as_bytes(std::span(send)), send_counts, std::as_writable_bytes(std::span(received)),
                      recv_counts);
    std::vector<float> out(static_cast<std::size_t>(here.size()));
    float const* from = received.data();
    for (std::size_t r = 0; r < ranks; ++r) {
        Range const part = sent_by(r, parameter, here);
        if (part.size() == 0) continue;
        Placement const place = placement_on(parameter.spec, static_cast<int>(held_[r].tensor_rank));
        copy_to_whole(out.data(), here.begin, place, {part.begin - parameter.offset, part.end - parameter.offset},
                      from);
        from += part.size();
    }
    return out;
}

}  // namespace selvage::io
