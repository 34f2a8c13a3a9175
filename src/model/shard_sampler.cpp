// SPDX-License-Identifier: Apache-2.0
#include "model/shard_sampler.h"

#include <algorithm>
#include <bit>

namespace selvage {
namespace {

using kernels::Candidate;
using kernels::Cut;
using kernels::Measure;

// What the rank that draws tells the others; as whole numbers, zeros everywhere else, these add up.
struct Drawn {
    std::int32_t token = 0;
    float log_probability = 0;
};

}  // namespace

ShardSampler::ShardSampler(Communicator& axis, Range part, Arena* arena)
    : axis_(axis), part_(part), arena_(arena), exchange_(axis), cut_search_(axis, part) {}

void ShardSampler::add(kernels::ShardRow const& row, kernels::Sampling const& options) {
    bool const whole = options.top_k <= 0 && options.top_p >= 1;
    (whole ? plain_ : cutting_).push_back({.row = row, .top_p = options.top_p, .bits = options.bits});
}

void ShardSampler::draw(std::int32_t* tokens, float* log_probability, Logits const& own, Stream& stream) {
    own_ = own;
    stream_ = &stream;
    tokens_ = tokens;
    log_probability_ = log_probability;
    if (!plain_.empty()) {
        weigh(plain_, false);
        pending_.clear();
        for (Row& row : plain_) pending_.push_back(&row);
        draw_pending();
    }
    for (std::size_t first = 0; first < cutting_.size(); first += group_rows)
        draw_group(std::span(cutting_).subspan(first, std::min(group_rows, cutting_.size() - first)));
    plain_.clear();
    cutting_.clear();
}

void ShardSampler::draw_group(std::span<Row> rows) {
    weigh(rows, true);
    gather_totals(rows);
    for (Row& row : rows)
        if (0 < row.row.top_k && row.row.top_k < own_.all_ids && !row.drawn) want(row, row.bound, row.row.top_k);
    apply(&Measure::count);
    for (Row& row : rows) {
        if (row.top_p >= 1 || row.drawn) continue;
        std::int64_t const need = kernels::share_of(row.top_p, row.cut.total);
        want(row, kernels::bound_of_share(row.cut, need, own_.all_ids), need);
        row.top_p = 1;
    }
    apply(&Measure::sum);
    pending_.clear();
    cuts_.clear();
    for (Row& row : rows) {
        if (row.drawn) continue;
        pending_.push_back(&row);
        cuts_.push_back({row.weights_row, row.cut});
    }
    kernels::kept_totals(totals_, kept_, own_.ids, cuts_, *stream_);
    draw_pending();
}

// Fills totals_, kept_ and bounds_.
void ShardSampler::weigh(std::span<Row> rows, bool keep) {
    shard_rows_.clear();
    for (Row& row : rows) {
        row.weights_row = static_cast<std::int64_t>(shard_rows_.size());
        shard_rows_.push_back(row.row);
    }
    std::int64_t const stride = keep ? kernels::weights_stride(own_.ids) : 0;
    auto const count = static_cast<std::int64_t>(rows.size());
    totals_.resize(rows.size() * static_cast<std::size_t>(kernels::vocabulary_blocks(own_.ids)));
    bounds_.assign(rows.size(), kernels::least_weight);
    kept_ = weights_for(count, stride);
    kernels::shard_weights(totals_, bounds_, kept_, own_.logits, own_.ids, shard_rows_, *stream_);
}

TensorView ShardSampler::weights_for(std::int64_t rows, std::int64_t stride) {
    std::int64_t const count = rows * stride;
    if (arena_ == nullptr) {
        weights_.resize(std::max(weights_.size(), static_cast<std::size_t>(count)));
        return TensorView::of(weights_.data(), {rows, stride});
    }
    if (device_weights_.shape().elements() < count || device_weights_.view().raw() == nullptr)
        device_weights_ = Tensor(*arena_, "sampling weights", DType::f32, {std::max<std::int64_t>(count, 1)});
    return device_weights_.first(count).reshape({rows, stride});
}

// The total of each row over all ranks, and the best bound of its top-k.
void ShardSampler::gather_totals(std::span<Row> rows) {
    auto const blocks = static_cast<std::size_t>(kernels::vocabulary_blocks(own_.ids));
    for (std::size_t i = 0; i < rows.size(); ++i) {
        std::int64_t own = 0;
        for (std::int64_t const total : std::span(totals_).subspan(i * blocks, blocks)) own += total;
        exchange_.put(own);
        exchange_.put(static_cast<double>(bounds_[i]));
    }
    exchange_.gather();
    auto const ranks = static_cast<std::size_t>(axis_.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
        Row& row = rows[i];
        for (std::size_t rank = 0; rank < ranks; ++rank) {
            row.cut.total += exchange_.get<std::int64_t>(rank, 2 * i);
            row.bound = std::max(row.bound, static_cast<float>(exchange_.get<double>(rank, 2 * i + 1)));
        }
        if (row.cut.total > 0) continue;
        set(row, -1, 0);
        row.drawn = true;
    }
}

void ShardSampler::want(Row& row, float low, std::int64_t need) {
    asking_.push_back(&row);
    wanted_.push_back({row.weights_row, low, need});
}

void ShardSampler::apply(std::int64_t Measure::*measure) {
    std::span<ShardCutSearch::Found const> const found =
        cut_search_.find(wanted_, measure, {kept_, own_.ids}, *stream_);
    for (std::size_t i = 0; i < found.size(); ++i) {
        asking_[i]->cut = found[i].cut;
        if (found[i].cut.listed) draw_listed(*asking_[i], found[i].candidates);
    }
    asking_.clear();
    wanted_.clear();
}

// Every rank knows all that is left, and draws the same.
void ShardSampler::draw_listed(Row& row, std::span<Candidate const> candidates) {
    if (row.top_p < 1) {
        reordered_.clear();
        for (Candidate const& candidate : candidates)
            if (row.cut.keeps(candidate)) reordered_.push_back(candidate);
        row.cut = kernels::cut_candidates(reordered_, kernels::share_of(row.top_p, row.cut.total), &Measure::sum);
    }
    std::int64_t const target = kernels::product_high(row.bits, row.cut.total);
    Candidate const drawn = kernels::draw_from(candidates, row.cut, target);
    set(row, drawn.id + static_cast<std::int32_t>(part_.begin), kernels::log_share(drawn.whole(), row.cut.total));
    row.drawn = true;
}

// Draws the pending rows, of which totals_ has what is kept.
void ShardSampler::draw_pending() {
    if (pending_.empty()) return;
    auto const blocks = static_cast<std::size_t>(kernels::vocabulary_blocks(own_.ids));
    auto const ranks = static_cast<std::size_t>(axis_.size());
    auto const me = static_cast<std::size_t>(axis_.rank());
    for (std::size_t i = 0; i < pending_.size(); ++i) {
        std::int64_t own = 0;
        for (std::int64_t const total : std::span(totals_).subspan(i * blocks, blocks)) own += total;
        exchange_.put(own);
    }
    exchange_.gather();
    draws_.clear();
    drawing_.clear();
    for (std::size_t i = 0; i < pending_.size(); ++i) {
        Row& row = *pending_[i];
        row.cut.total = 0;
        for (std::size_t rank = 0; rank < ranks; ++rank) row.cut.total += exchange_.get<std::int64_t>(rank, i);
        std::int64_t target = kernels::product_high(row.bits, std::max<std::int64_t>(row.cut.total, 0));
        std::size_t rank = 0;
        for (; rank < me; ++rank) target -= exchange_.get<std::int64_t>(rank, i);
        if (0 <= target && target < exchange_.get<std::int64_t>(me, i)) draw_from_part(row, i, target);
    }
    drawn_.resize(draws_.size());
    kernels::draw_in_blocks(drawn_, own_.logits, own_.ids, draws_, *stream_);
    results_.assign(pending_.size(), 0);
    for (std::size_t i = 0; i < drawn_.size(); ++i) {
        std::int64_t const total = pending_[drawing_[i]]->cut.total;
        results_[drawing_[i]] = std::bit_cast<std::int64_t>(
            Drawn{drawn_[i].id + static_cast<std::int32_t>(part_.begin), kernels::log_share(drawn_[i].whole(), total)});
    }
    axis_.all_reduce(results_, Reduction::sum);
    for (std::size_t i = 0; i < pending_.size(); ++i) {
        auto const drawn = std::bit_cast<Drawn>(results_[i]);
        set(*pending_[i], pending_[i]->cut.total > 0 ? drawn.token : -1, drawn.log_probability);
    }
}

// The block of this rank in which the token lies.
void ShardSampler::draw_from_part(Row const& row, std::size_t pending, std::int64_t target) {
    auto const blocks = static_cast<std::size_t>(kernels::vocabulary_blocks(own_.ids));
    std::int64_t block = 0;
    for (std::int64_t const kept : std::span(totals_).subspan(pending * blocks, blocks)) {
        if (target < kept) break;
        target -= kept;
        ++block;
    }
    draws_.push_back({row.row, row.cut, block, target});
    drawing_.push_back(pending);
}

void ShardSampler::set(Row const& row, std::int32_t token, float log_probability) {
    tokens_[row.row.row] = token;
    log_probability_[row.row.row] = log_probability;
}

}  // namespace selvage
