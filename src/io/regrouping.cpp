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

void Regrouping::place(std::size_t rank, Parameter const& parameter, Range here, float const* from) {
    Range const part = sent_by(rank, parameter, here);
    if (part.size() == 0) return;
    Placement const place = placement_on(parameter.spec, static_cast<int>(held_[rank].tensor_rank));
    copy_to_whole(out_.data(), here.begin, place, {part.begin - parameter.offset, part.end - parameter.offset}, from);
}

std::span<float const> Regrouping::bring(FloatReader& mine, Parameter const& parameter,
                                         std::vector<Range> const& wanted) {
    auto const ranks = static_cast<std::size_t>(all_.size());
    auto const me = static_cast<std::size_t>(all_.rank());
    std::vector<std::size_t> send_counts(ranks), recv_counts(ranks);
    Range here{};
    send_.clear();
    std::int64_t const first = held_[me].elements.begin;
    for (std::size_t w = 0; w < writers_.size(); ++w) {
        auto const writer = static_cast<std::size_t>(writers_[w]);
        if (writer == me) {
            here = wanted[w];
            continue;
        }
        Range const part = sent_by(me, parameter, wanted[w]);
        if (part.size() == 0) continue;
        std::span<float const> const from = mine.read({part.begin - first, part.end - first});
        send_.insert(send_.end(), from.begin(), from.end());
        send_counts[writer] = from.size_bytes();
    }
    std::size_t total = 0;
    for (std::size_t r = 0; r < ranks; ++r) {
        if (r == me) continue;
        auto const count = static_cast<std::size_t>(sent_by(r, parameter, here).size());
        recv_counts[r] = count * sizeof(float);
        total += count;
    }
    received_.resize(total);
    all_.all_to_all_v(std::as_bytes(std::span(send_)), send_counts, std::as_writable_bytes(std::span(received_)),
                      recv_counts);
    out_.resize(static_cast<std::size_t>(here.size()));
    float const* from = received_.data();
    for (std::size_t r = 0; r < ranks; ++r) {
        if (r == me) {
            if (Range const part = sent_by(me, parameter, here); part.size() > 0)
                place(me, parameter, here, mine.read({part.begin - first, part.end - first}).data());
        } else {
            place(r, parameter, here, from);
            from += recv_counts[r] / sizeof(float);
        }
    }
    return out_;
}

}  // namespace selvage::io
