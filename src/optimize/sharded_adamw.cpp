// SPDX-License-Identifier: Apache-2.0
#include "optimize/sharded_adamw.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "comm/ordered.h"
#include "kernels/activation.h"
#include "kernels/adamw.h"
#include "tensor/host_copy.h"

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
      stream_(arena.stream()),
      data_collectives_(grid, Axis::data, arena.device()),
      tensor_collectives_(grid, Axis::tensor, arena.device()) {
    std::int64_t const ranks = grid.size(Axis::data);
    BlockSplit const split(parameters.flat_size(), ParameterSet::block_elements, ranks);
    shards_ = parameters.shards(ranks);
    SELVAGE_CHECK(parameters.is_whole() || parameters.held() == shard(), "parameters of another shard");
    for (std::int64_t r = 0; r < ranks; ++r) {
        value_bytes_.push_back(static_cast<std::size_t>(shards_[static_cast<std::size_t>(r)].size()) * sizeof(float));
        block_bytes_.push_back(static_cast<std::size_t>(split.block_range(r).size()) * sizeof(double));
    }
    pieces_ = pieces_of(parameters, shard());
    find_shared();
    own_sums_.resize(static_cast<std::size_t>(split.block_range(rank_).size()));
    block_sums_.resize(static_cast<std::size_t>(split.blocks() * grid.size(Axis::tensor)));
    std::int64_t shared = 0;
    for (Shared const& part : shared_) shared += part.elements.size();
    if (parameters.ranks() > 1) {
        shared_values_ = Tensor(arena, "shared gradients", DType::f32, {shared});
        all_shared_values_ = Tensor(arena, "shared gradients", DType::f32, {shared * parameters.ranks()});
    }
    first_moment_ = Tensor(arena, "first moment", DType::f32, {shard().size()});
    second_moment_ = Tensor(arena, "second moment", DType::f32, {shard().size()});
}

void ShardedAdamW::add_squares(TensorView gradient, Range part, Stream& stream) {
    constexpr std::int64_t block = ParameterSet::block_elements;
    SELVAGE_CHECK(part.begin % block == 0, "squares from element {} on", part.begin);
    if (part.size() > 0)
        kernels::block_sums_of_squares(own_sums_.data() + part.begin / block, gradient.rows(part.begin, part.end),
                                       block, stream);
}

// Of elements that several ranks hold the first of them counts.
void ShardedAdamW::find_shared() {
    for (Parameter const& parameter : parameters_.parameters()) {
        Range const held{parameter.offset, parameter.offset + parameter.shape.elements()};
        Range const part = shard().intersect(held);
        if (part.size() == 0) continue;
        Range const here{part.begin - shard().begin, part.end - shard().begin};
        Cut const& cut = parameter.spec.cut;
        int const first = first_holder(cut, parameters_.rank());
        bool const shared =
            first < parameters_.rank() || (first + 1 < parameters_.ranks() && cut.same(first, first + 1));
        if (shared) shared_.push_back({here, &cut});
        if (first == parameters_.rank()) counted_.push_back(here);
    }
}

void ShardedAdamW::sum_shared(TensorView gradient) {
    TensorView const mine = shared_values_, all = all_shared_values_;
    std::int64_t at = 0;
    for (Shared const& part : shared_) {
        copy(mine.rows(at, at + part.elements.size()), gradient.rows(part.elements.begin, part.elements.end), stream_);
        at += part.elements.size();
    }
    tensor_collectives_.all_gather(all, mine, stream_);
    at = 0;
    for (Shared const& part : shared_) {
        TensorView const sum = gradient.rows(part.elements.begin, part.elements.end);
        kernels::fill(sum, 0, stream_);
        for (int r = 0; r < parameters_.ranks(); ++r) {
            std::int64_t const first = r * mine.elements() + at;
            if (part.cut->same(parameters_.rank(), r))
                kernels::add_in_place(sum, all.rows(first, first + sum.elements()), stream_);
        }
        at += sum.elements();
    }
}

void ShardedAdamW::add_counted_squares(TensorView gradient) {
    constexpr std::int64_t block = ParameterSet::block_elements;
    std::fill(own_sums_.begin(), own_sums_.end(), 0.0);
    for (Range part : counted_)
        while (part.size() > 0) {
            // Up to the next block, then all others at once.
            std::int64_t const index = part.begin / block;
            std::int64_t const end = part.begin % block == 0 ? part.end : std::min(part.end, (index + 1) * block);
            part_sums_.resize(static_cast<std::size_t>((end - part.begin + block - 1) / block));
            kernels::block_sums_of_squares(part_sums_.data(), gradient.rows(part.begin, end), block, stream_);
            for (std::size_t b = 0; b < part_sums_.size(); ++b)
                own_sums_[static_cast<std::size_t>(index) + b] += part_sums_[b];
            part.begin = end;
        }
}

double ShardedAdamW::sum_of_squares() {
    auto const blocks = block_sums_.size() / static_cast<std::size_t>(parameters_.ranks());
    std::span<double> const of_rank = std::span(block_sums_).first(blocks);
    grid_.data().all_gather_v(std::as_bytes(std::span(own_sums_)), std::as_writable_bytes(of_rank), block_bytes_);
    if (parameters_.ranks() == 1) return tree_sum(block_sums_);
    std::vector<double> const mine(of_rank.begin(), of_rank.end());
    grid_.axis(Axis::tensor).all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(block_sums_)));
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
        kernels::adamw_update(parameters_.values_of({begin, end}),
                              first_moment_.view().rows(begin - first, end - first),
                              second_moment_.view().rows(begin - first, end - first),
                              gradient.rows(begin - first, end - first), constants, stream_);
    }
}

void ShardedAdamW::gather_values() {
    if (shards_.size() == 1 || !parameters_.is_whole()) return;
    data_collectives_.all_gather(parameters_.values(), value_bytes_, stream_);
}

ShardedAdamW::Result ShardedAdamW::step(TensorView gradient, double weight_sum, std::int64_t step,
                                        std::int64_t total_steps, Squares squares, double norm_limit) {
    SELVAGE_CHECK(gradient.elements() == shard().size(), "gradient of {} elements for a shard of {}",
                  gradient.elements(), shard().size());
    if (parameters_.ranks() > 1) {
        SELVAGE_CHECK(squares == Squares::to_do, "squares of gradients that are not summed over the tensor axis");
        sum_shared(gradient);
        add_counted_squares(gradient);
    } else if (squares == Squares::to_do) {
        add_squares(gradient, {0, shard().size()});
    }
    Result result;
    result.learning_rate = learning_rate_at(options_, step, total_steps);
    result.grad_norm = std::sqrt(sum_of_squares()) / weight_sum;
    result.changed = std::isfinite(result.grad_norm) && result.grad_norm <= norm_limit;
    if (!result.changed) return result;

    bool const too_long = options_.clip > 0 && result.grad_norm > options_.clip;
    double const clip_factor = too_long ? options_.clip / result.grad_norm : 1.0;
    update(gradient, clip_factor / weight_sum, result.learning_rate, step);
    gather_values();
    return result;
}

}  // namespace selvage
