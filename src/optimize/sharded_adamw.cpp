// SPDX-License-Identifier: Apache-2.0
#include "optimize/sharded_adamw.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "comm/ordered.h"
#include "kernels/adamw.h"

namespace selvage {

std::vector<ShardedAdamW::Piece> ShardedAdamW::pieces_of(ParameterSet const& parameters, Range shard) {
    std::span<Parameter const> const all = parameters.parameters();
    std::vector<Piece> pieces;
    for (std::size_t i = 0; i < all.size(); ++i) {
        // The padding behind a parameter goes with it: its gradient is zero, so it stays zero.
        std::int64_t const end = i + 1 < all.size() ? all[i + 1].offset : parameters.flat_size();
        Range const part = shard.intersect({all[i].offset, end});
        if (part.size() == 0) continue;
        bool const decay = all[i].spec.weight_decay;
        if (!pieces.empty() && pieces.back().weight_decay == decay)
            pieces.back().elements.end = part.end;
        else
            pieces.push_back({part, decay});
    }
    return pieces;
}

ShardedAdamW::ShardedAdamW(Arena& arena, ProcessGrid const& grid, ParameterSet& parameters, OptimizerOptions options)
    : grid_(grid),
      parameters_(parameters),
      options_(options),
      rank_(grid.coordinate(Axis::data)),
      stream_(arena.device()) {
    std::int64_t const ranks = grid.size(Axis::data);
    BlockSplit const split(parameters.flat_size(), ParameterSet::block_elements, ranks);
    for (std::int64_t r = 0; r < ranks; ++r) {
        shards_.push_back(split.part(r));
        value_bytes_.push_back(static_cast<std::size_t>(split.part(r).size()) * sizeof(float));
        block_bytes_.push_back(static_cast<std::size_t>(split.block_range(r).size()) * sizeof(double));
    }
    pieces_ = pieces_of(parameters, shard());
    own_sums_.resize(static_cast<std::size_t>(split.block_range(rank_).size()));
    block_sums_.resize(static_cast<std::size_t>(split.blocks()));
    first_moment_ = Tensor(arena, "first moment", DType::f32, {shard().size()});
    second_moment_ = Tensor(arena, "second moment", DType::f32, {shard().size()});
}

void ShardedAdamW::add_squares(TensorView gradient, Range part) {
    constexpr std::int64_t block = ParameterSet::block_elements;
    SELVAGE_CHECK(part.begin % block == 0, "squares from element {} on", part.begin);
    if (part.size() > 0)
        kernels::block_sums_of_squares(own_sums_.data() + part.begin / block, gradient.rows(part.begin, part.end),
                                       block, stream_);
}

double ShardedAdamW::sum_of_squares() {
    grid_.data().all_gather_v(std::as_bytes(std::span(own_sums_)), std::as_writable_bytes(std::span(block_sums_)),
                              block_bytes_);
    return tree_sum(block_sums_);
}

void ShardedAdamW::update(TensorView gradient, double gradient_scale, double learning_rate, std::int64_t step) {
    kernels::AdamWStep constants;
    constants.learning_rate = static_cast<float>(learning_rate);
    constants.beta1 = static_cast<float>(options_.beta1);
    constants.beta2 = static_cast<float>(options_.beta2);
    constants.epsilon = static_cast<float>(options_.epsilon);
    constants.gradient_scale = static_cast<float>(gradient_scale);
    constants.step = step;
    std::int64_t const first = shard().begin;
    for (Piece const& piece : pieces_) {
        auto const [begin, end] = piece.elements;
        constants.weight_decay = piece.weight_decay ? static_cast<float>(options_.weight_decay) : 0.0F;
        kernels::adamw_update(parameters_.values().rows(begin, end),
                              first_moment_.view().rows(begin - first, end - first),
                              second_moment_.view().rows(begin - first, end - first),
                              gradient.rows(begin - first, end - first), constants, stream_);
    }
}

void ShardedAdamW::gather_values() {
    if (shards_.size() == 1) return;
    TensorView const values = parameters_.values();
    auto* const all = static_cast<std::byte*>(values.raw());
    grid_.data().all_gather_v(
        {all + static_cast<std::size_t>(shard().begin) * sizeof(float), value_bytes_[static_cast<std::size_t>(rank_)]},
        {all, static_cast<std::size_t>(values.elements()) * sizeof(float)}, value_bytes_);
}

ShardedAdamW::Result ShardedAdamW::step(TensorView gradient, double weight_sum, std::int64_t step,
                                        std::int64_t total_steps, Squares squares) {
    SELVAGE_CHECK(gradient.elements() == shard().size(), "gradient of {} elements for a shard of {}",
                  gradient.elements(), shard().size());
    if (squares == Squares::to_do) add_squares(gradient, {0, shard().size()});
    Result result;
    result.learning_rate = learning_rate_at(options_, step, total_steps);
    result.grad_norm = std::sqrt(sum_of_squares()) / weight_sum;
    result.finite = std::isfinite(result.grad_norm);
    if (!result.finite) return result;

    bool const too_long = options_.clip > 0 && result.grad_norm > options_.clip;
    double const clip_factor = too_long ? options_.clip / result.grad_norm : 1.0;
    update(gradient, clip_factor / weight_sum, result.learning_rate, step);
    gather_values();
    return result;
}

}  // namespace selvage
