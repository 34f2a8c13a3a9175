// SPDX-License-Identifier: Apache-2.0
#include "kernels/vocabulary_shard.h"

#include <algorithm>
#include <vector>

#include "kernels/cuda/logits.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/weights.h"

namespace selvage::kernels::cuda {
namespace {

constexpr int threads = 256;
constexpr int warp_threads = 32 * warps_per_block;

constexpr auto index(std::int64_t i) { return static_cast<std::size_t>(i); }

__device__ bool keeps(Cut const& cut, float weight, std::int64_t id) {
    return weight > cut.last.weight || (weight == cut.last.weight && id <= cut.last.id);
}

// totals[rows, blocks of ids]; the weights, and each lane's largest of a block, where they are kept (else null).
struct Weights {
    Whole* totals;
    float* weights;
    float* lane_maxima;
    std::int64_t stride;  // of a row of weights
    float const* logits;
    std::int64_t vocabulary, ids;
    ShardRow const* rows;
    bool vectors;
};
__global__ void __launch_bounds__(warp_threads) shard_weights_kernel(Weights t) {
    BlockPlace const at;
    if (at.first >= t.ids) return;
    ShardRow const row = t.rows[at.row];
    int const count = at.count(t.ids);
    BlockLogits const x(t.logits + row.row * t.vocabulary + at.first, count, at.lane, t.vectors);
    Whole total = 0;
    float largest = 0;
    for (int i = 0; i < logits_per_lane; i += 4) {
        Vector<4> four;
        for (int j = 0; j < 4; ++j) {
            four[j] = weight_of(x.values[i + j], row.max, row.temperature);
            total += whole(four[j]);
            largest = fmaxf(largest, four[j]);
        }
        std::int64_t const place = at.first + place_in_block(at.lane, i);
        if (t.weights != nullptr && place < t.stride) store(t.weights + at.row * t.stride + place, four);
    }
    total = over_warp(total, Sum{});
    std::int64_t const block = at.row * blocks_of(t.ids) + at.block;
    if (at.lane == 0) t.totals[block] = total;
    if (t.lane_maxima != nullptr) t.lane_maxima[block * 32 + at.lane] = largest;
}

// A block has a range.
__global__ void __launch_bounds__(threads)
    measure_weights_kernel(Measure* measures, float const* weights, std::int64_t stride, std::int64_t ids,
                           WeightRange const* ranges) {
    __shared__ Whole counts[32], sums[32];
    WeightRange const range = ranges[blockIdx.x];
    float const* const row = weights + range.row * stride;
    Whole count = 0, sum = 0;
#pragma unroll 4
    for (std::int64_t id = threadIdx.x; id < ids; id += threads) {
        float const weight = row[id];
        if (weight < range.low) continue;
        ++count;
        sum += whole(weight);
    }
    count = over_block(count, Whole{0}, counts, Sum{});
    sum = over_block(sum, Whole{0}, sums, Sum{});
    if (threadIdx.x == 0) measures[blockIdx.x] = {count, sum};
}

// A block has a range, and goes along the ids.
__global__ void __launch_bounds__(threads)
    candidates_between_kernel(Candidate* candidates, float const* weights, std::int64_t stride, std::int64_t ids,
                              WeightRange const* ranges) {
    __shared__ int counts[2][threads / 32];  // taken in turn
    WeightRange const range = ranges[blockIdx.x];
    float const* const row = weights + range.row * stride;
    unsigned const lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    std::int64_t place = range.first;
    int turn = 0;
    for (std::int64_t first = 0; first < ids; first += threads, turn = 1 - turn) {
        std::int64_t const id = first + threadIdx.x;
        float const weight = id < ids ? row[id] : 0.0F;
        bool const chosen = id < ids && range.low <= weight && weight < range.high;
        unsigned const ballot = __ballot_sync(all_lanes, chosen ? 1 : 0);
        if (lane == 0) counts[turn][warp] = __popc(ballot);
        __syncthreads();
        std::int64_t own = place + __popc(ballot & ((1U << lane) - 1));
        for (unsigned i = 0; i < threads / 32; ++i) {
            if (i < warp) own += counts[turn][i];
            place += counts[turn][i];
        }
        if (chosen) candidates[own] = {weight, static_cast<std::int32_t>(id)};
    }
}

// totals[cuts, blocks of ids]
__global__ void __launch_bounds__(warp_threads)
    kept_totals_kernel(Whole* totals, float const* weights, std::int64_t stride, std::int64_t ids, RowCut const* cuts) {
    BlockPlace const at;
    if (at.first >= ids) return;
    RowCut const cut = cuts[at.row];
    Whole total = 0;
    for (std::int64_t id = at.first + at.lane; id < min(at.first + vocabulary_block, ids); id += 32) {
        float const weight = weights[cut.row * stride + id];
        if (keeps(cut.cut, weight, id)) total += whole(weight);
    }
    total = over_warp(total, Sum{});
    if (at.lane == 0) totals[at.row * blocks_of(ids) + at.block] = total;
}

// A warp has a draw.
__global__ void __launch_bounds__(32)
    draw_in_blocks_kernel(Candidate* drawn, float const* logits, std::int64_t vocabulary, std::int64_t ids,
                          BlockDraw const* draws) {
    BlockDraw const draw = draws[blockIdx.x];
    std::int64_t const first = draw.block * vocabulary_block;
    float const* const row = logits + draw.row.row * vocabulary;
    auto const weight = [&](std::int64_t id) { return weight_of(row[id], draw.row.max, draw.row.temperature); };
    Crossing const found = find_crossing(min(ids - first, vocabulary_block), draw.target, [&](std::int64_t i) {
        float const w = weight(first + i);
        return keeps(draw.cut, w, first + i) ? whole(w) : Whole{0};
    });
    std::int64_t const id = min(first + found.index, ids - 1);
    if (threadIdx.x == 0) drawn[blockIdx.x] = {weight(id), static_cast<std::int32_t>(id)};
}

void check_part(std::int64_t ids, TensorView logits) {
    SELVAGE_CHECK(logits.rank() == 2 && 0 <= ids && ids <= logits.dim(1), "{} ids of logits of shape {}", ids,
                  logits.shape().text());
}

// A kernel's results for the host: work(results in device memory).
template <class T, class Work>
void bring(std::span<T> results, Stream& stream, Work const& work) {
    if (results.empty()) return;
    T* const there = scratch<T>(results.size(), stream);
    work(there);
    download(results, static_cast<T const*>(there), stream);
}

unsigned blocks_for(std::size_t items) { return static_cast<unsigned>(items); }

}  // namespace

void block_sums(std::span<BlockSum> sums, std::span<float> largest, TensorView logits, std::int64_t ids,
                Stream& stream) {
    check_part(ids, logits);
    std::int64_t const rows = logits.dim(0), blocks = vocabulary_blocks(logits.dim(1));
    auto const count = index(rows * blocks);
    SELVAGE_CHECK(sums.size() == count && (largest.empty() || largest.size() == index(rows)), "{} sums of blocks",
                  sums.size());
    std::fill(largest.begin(), largest.end(), minus_infinity);
    if (count == 0) return;
    auto* const there = reinterpret_cast<BlockSum*>(scratch<std::byte>(count * (sizeof(BlockSum) + 4), stream));
    auto* const of_blocks = largest.empty() ? nullptr : reinterpret_cast<float*>(there + count);
    compute_block_sums(there, of_blocks, logits, ids, stream);
    download(sums, static_cast<BlockSum const*>(there), stream);
    if (largest.empty()) return;
    thread_local std::vector<float> maxima;
    maxima.resize(count);
    download(std::span(maxima), static_cast<float const*>(of_blocks), stream);
    for (std::size_t i = 0; i < count; ++i) {
        float& most = largest[i / index(blocks)];
        most = std::max(most, maxima[i]);
    }
}

void merge_block_sums(TensorView log_sum_exp, std::span<BlockSum const> sums, Stream& stream) {
    std::int64_t const rows = log_sum_exp.elements();
    if (rows == 0) return;
    merge_block_sums(log_sum_exp.as<float>(), upload(sums, stream), rows, static_cast<std::int64_t>(sums.size()) / rows,
                     stream);
}

void shard_argmax(std::span<LargestLogit> largest, TensorView logits, std::int64_t ids, Stream& stream) {
    check_part(ids, logits);
    thread_local std::vector<LargestId> found;
    found.resize(largest.size());
    if (found.empty()) return;
    download(std::span(found), find_largest(nullptr, logits, ids, stream), stream);
    for (std::size_t row = 0; row < found.size(); ++row) {
        bool const none = found[row].id == no_id;
        largest[row] = none ? LargestLogit{} : LargestLogit{found[row].logit, found[row].id};
    }
}

void shard_target_log_probability(std::span<float> out, TensorView logits, TensorView log_sum_exp, TensorView targets,
                                  std::int64_t first_id, Stream& stream) {
    bring(out, stream, [&](float* there) {
        compute_target_log_probability(there, logits, log_sum_exp, targets, first_id, 0.0F, stream);
    });
}

void shard_weights(std::span<std::int64_t> totals, std::span<float> bounds, TensorView weights, TensorView logits,
                   std::int64_t ids, std::span<ShardRow const> rows, Stream& stream) {
    check_part(ids, logits);
    std::int64_t const vocabulary = logits.dim(1);
    auto const blocks = index(vocabulary_blocks(ids)), count = rows.size() * blocks;
    bool const keep = !weights.empty();
    bool const bound = keep && std::any_of(rows.begin(), rows.end(), [](ShardRow const& row) { return row.top_k > 0; });
    float const* const x = logits.as<float>();
    for (std::size_t i = 0; i < rows.size(); ++i)
        if (bound && rows[i].top_k > 0) bounds[i] = least_weight;
    if (count == 0) return;
    auto* const there = reinterpret_cast<Whole*>(scratch<std::byte>(count * (sizeof(Whole) + 32 * 4), stream));
    auto* const lane_maxima = bound ? reinterpret_cast<float*>(there + count) : nullptr;
    Weights const t{.totals = there,
                    .weights = keep ? weights.as<float>() : nullptr,
                    .lane_maxima = lane_maxima,
                    .stride = weights_stride(ids),
                    .logits = x,
                    .vocabulary = vocabulary,
                    .ids = ids,
                    .rows = upload(rows, stream),
                    .vectors = vectors_in_rows(x, vocabulary)};
    launch(shard_weights_kernel, grid_of_blocks(static_cast<std::int64_t>(rows.size()), ids), warp_threads, 0, stream,
           t);
    download(totals.first(count), reinterpret_cast<std::int64_t const*>(there), stream);
    if (!bound) return;
    thread_local std::vector<float> maxima;
    maxima.resize(32 * count);
    download(std::span(maxima), static_cast<float const*>(lane_maxima), stream);
    for (std::size_t i = 0; i < rows.size(); ++i)
        if (rows[i].top_k > 0)
            bounds[i] = bound_of_largest(std::span(maxima).subspan(32 * blocks * i, 32 * blocks), rows[i].top_k);
}

void measure_weights(std::span<Measure> measures, TensorView weights, std::int64_t ids,
                     std::span<WeightRange const> ranges, Stream& stream) {
    bring(measures.first(ranges.size()), stream, [&](Measure* there) {
        launch(measure_weights_kernel, blocks_for(ranges.size()), threads, 0, stream, there, weights.as<float>(),
               weights_stride(ids), ids, upload(ranges, stream));
    });
}

void candidates_between(std::span<Candidate> candidates, TensorView weights, std::int64_t ids,
                        std::span<WeightRange const> ranges, Stream& stream) {
    bring(candidates, stream, [&](Candidate* there) {
        launch(candidates_between_kernel, blocks_for(ranges.size()), threads, 0, stream, there, weights.as<float>(),
               weights_stride(ids), ids, upload(ranges, stream));
    });
}

void kept_totals(std::span<std::int64_t> totals, TensorView weights, std::int64_t ids, std::span<RowCut const> cuts,
                 Stream& stream) {
    bring(totals, stream, [&](std::int64_t* there) {
        launch(kept_totals_kernel, grid_of_blocks(static_cast<std::int64_t>(cuts.size()), ids), warp_threads, 0, stream,
               reinterpret_cast<Whole*>(there), weights.as<float>(), weights_stride(ids), ids, upload(cuts, stream));
    });
}

void draw_in_blocks(std::span<Candidate> drawn, TensorView logits, std::int64_t ids, std::span<BlockDraw const> draws,
                    Stream& stream) {
    check_part(ids, logits);
    bring(drawn.first(draws.size()), stream, [&](Candidate* there) {
        launch(draw_in_blocks_kernel, blocks_for(draws.size()), 32, 0, stream, there, logits.as<float>(), logits.dim(1),
               ids, upload(draws, stream));
    });
}

void fill_vocabulary_shard(Operations& operations) {
    operations.block_sums = block_sums;
    operations.merge_block_sums = merge_block_sums;
    operations.shard_argmax = shard_argmax;
    operations.shard_target_log_probability = shard_target_log_probability;
    operations.shard_weights = shard_weights;
    operations.measure_weights = measure_weights;
    operations.candidates_between = candidates_between;
    operations.kept_totals = kept_totals;
    operations.draw_in_blocks = draw_in_blocks;
}

}  // namespace selvage::kernels::cuda
