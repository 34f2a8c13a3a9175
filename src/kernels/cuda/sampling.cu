// SPDX-License-Identifier: Apache-2.0
#include "kernels/sampling.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cuda/logits.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/weights.h"

namespace selvage::kernels::cuda {
namespace {

// An id with its weight: larger keys come first in the order of the cuts. Above the bits of the id, from the last one
// down, are those of the weight, less those of 1, the least that is drawn.
using Key = unsigned long long;
constexpr int id_bits = 22;
constexpr unsigned last_id = (1U << id_bits) - 1;
constexpr unsigned bits_of_one = 0x3f800000U;

// The digits of a key, the highest one first: the weight's 29 bits, then the id's. The first has 41 * 32 values.
constexpr int digits = 5;
constexpr int most_values = 2048;
__device__ int shift_of(int digit) { return digit == 0 ? 40 : digit == 1 ? 31 : digit == 2 ? 22 : digit == 3 ? 11 : 0; }
__device__ int bits_of(int digit) { return digit == 1 || digit == 2 ? 9 : 11; }

constexpr int few = 2048;  // keys that are listed
constexpr unsigned most_draw_threads = 512;

// What a row draws by.
struct Draw {
    float temperature;
    bool cut_by_share;
    Whole top_k;               // 0: no cut
    unsigned long long share;  // of the total that top_p keeps, in 2^-64
    unsigned long long bits;
};

struct Tables {
    std::int32_t* tokens;
    float* log_probability;
    float* log_sum_exp;  // null: not asked for
    float const* logits;
    std::int64_t vocabulary, ids;
    Draw const* draws;
    BlockSum const* sums;  // [rows, blocks of the vocabulary], as largest
    float const* largest;
    Whole* totals;  // [rows, blocks of the ids]
    bool vectors;
};

__device__ Key key_of(float weight, int id) {
    return static_cast<Key>(__float_as_uint(weight) - bits_of_one) << id_bits | (last_id - static_cast<unsigned>(id));
}
__device__ float weight_in(Key key) { return __uint_as_float(static_cast<unsigned>(key >> id_bits) + bits_of_one); }

__device__ float largest_of_row(float const* largest, std::int64_t blocks, unsigned lane) {
    float max = minus_infinity;
    for (std::int64_t i = lane; i < blocks; i += 32) max = Largest{}(max, largest[i]);
    return over_warp(max, Largest{});
}

// totals[row, blocks]
__global__ void __launch_bounds__(32 * warps_per_block) weight_totals_kernel(Tables t) {
    BlockPlace const at;
    if (at.first >= t.ids) return;
    float const temperature = t.draws[at.row].temperature;
    if (temperature == 0.0F) return;
    std::int64_t const blocks = blocks_of(t.vocabulary);
    float const max = largest_of_row(t.largest + at.row * blocks, blocks, at.lane);
    BlockLogits const x(t.logits + at.row * t.vocabulary + at.first, at.count(t.ids), at.lane, t.vectors);
    Whole total = 0;
    for (int i = 0; i < logits_per_lane; ++i) total += whole(weight_of(x.values[i], max, temperature));
    total = over_warp(total, Sum{});
    if (at.lane == 0) t.totals[at.row * blocks_of(t.ids) + at.block] = total;
}

// What the threads of a row share.
struct Shared {
    unsigned counts[most_values];
    Key sums[most_values];
    Key list[few];
    unsigned listed;
    Crossing crossing;
    Whole warp_sums[32];
};

// A row's weights, for a block of threads.
struct Row {
    float const* logits;
    std::int64_t ids;
    float max, temperature;
    bool vectors;

    __device__ float weight(std::int64_t id) const { return weight_of(logits[id], max, temperature); }
    // work(key) by all threads for all keys that are `least` at least; of a list, if there is one.
    template <class Work>
    __device__ void over_keys(Shared const& shared, bool list, Key least, Work const& work) const {
        if (list) {
            for (unsigned i = threadIdx.x; i < shared.listed; i += blockDim.x) work(shared.list[i]);
            return;
        }
        auto const take = [&](float logit, std::int64_t id) {
            float const w = weight_of(logit, max, temperature);
            if (w < 1.0F) return;
            Key const key = key_of(w, static_cast<int>(id));
            if (key >= least) work(key);
        };
        std::int64_t const step = 4 * static_cast<std::int64_t>(blockDim.x);
#pragma unroll 2
        for (std::int64_t id = 4 * static_cast<std::int64_t>(threadIdx.x); id < ids; id += step) {
            if (vectors && id + 4 <= ids) {
                Vector<4> const x = load<4>(logits + id);
                for (int j = 0; j < 4; ++j) take(x[j], id + j);
            } else {
                for (std::int64_t i = id; i < id + 4 && i < ids; ++i) take(logits[i], i);
            }
        }
    }
};

enum class By : std::uint8_t { count, sum };

// The last key of the shortest prefix of those from `least` up whose measure is `need` at least; 0 where all of them
// together have less. By its digits: in which value of a digit the prefix ends, among keys with the digits before.
__device__ Key find_cut(Row const& row, Shared& shared, By by, Whole need, Key least) {
    Key prefix = 0;
    bool list = false;
    for (int digit = 0; digit < digits; ++digit) {
        int const shift = shift_of(digit), bits = bits_of(digit), values = 1 << bits;
        for (int i = static_cast<int>(threadIdx.x); i < values; i += static_cast<int>(blockDim.x))
            shared.counts[i] = 0, shared.sums[i] = 0;
        __syncthreads();
        row.over_keys(shared, list, least, [&](Key key) {
            if (key >> (shift + bits) != prefix) return;
            unsigned const value = static_cast<unsigned>(key >> shift) & static_cast<unsigned>(values - 1);
            atomicAdd(&shared.counts[value], 1U);
            if (by == By::sum) atomicAdd(&shared.sums[value], static_cast<Key>(whole(weight_in(key))));
        });
        __syncthreads();
        if (threadIdx.x < 32) {
            Crossing const found = find_crossing(values, need - 1, [&](std::int64_t i) {
                std::int64_t const value = values - 1 - i;
                return by == By::sum ? static_cast<Whole>(shared.sums[value])
                                     : static_cast<Whole>(shared.counts[value]);
            });
            if (threadIdx.x == 0) shared.crossing = found, shared.listed = list ? shared.listed : 0;
        }
        __syncthreads();
        Crossing const found = shared.crossing;
        if (found.index == values) return 0;
        auto const value = static_cast<unsigned>(values - 1 - found.index);
        prefix = prefix << bits | value;
        need = found.target + 1;
        if (!list && shared.counts[value] <= few) {
            row.over_keys(shared, false, least, [&](Key key) {
                if (key >> shift == prefix) shared.list[atomicAdd(&shared.listed, 1U)] = key;
            });
            list = true;
        }
        __syncthreads();
    }
    return prefix;
}

// totals[blocks] of the keys from `cut` up.
__device__ void keep_totals(Row const& row, Whole* totals, Key cut) {
    unsigned const lane = threadIdx.x % 32;
    for (std::int64_t block = threadIdx.x / 32; block < blocks_of(row.ids); block += blockDim.x / 32) {
        std::int64_t const first = block * vocabulary_block;
        int const count = static_cast<int>(min(row.ids - first, vocabulary_block));
        BlockLogits const x(row.logits + first, count, lane, row.vectors);
        Whole total = 0;
        for (int i = 0; i < logits_per_lane; ++i) {
            float const w = weight_of(x.values[i], row.max, row.temperature);
            int const id = static_cast<int>(first) + place_in_block(lane, i);
            if (w >= 1.0F && key_of(w, id) >= cut) total += whole(w);
        }
        total = over_warp(total, Sum{});
        if (lane == 0) totals[block] = total;
    }
    __syncthreads();
}

// The threads come to another __syncthreads() before they may call it again.
__device__ Whole total_of(Shared& shared, Whole const* totals, std::int64_t blocks) {
    Whole total = 0;
    for (std::int64_t i = threadIdx.x; i < blocks; i += blockDim.x) total += totals[i];
    return over_block(total, Whole{0}, shared.warp_sums, Sum{});
}

struct Drawn {
    int token;
    float log_probability;
};

// For a warp: the first id among the keys from `cut` up whose cumulative weight exceeds the share of the total that
// the draw's bits are.
__device__ Drawn draw_token(Row const& row, Draw const& draw, Whole const* totals, Whole total, Key cut) {
    auto const target = static_cast<Whole>(__umul64hi(draw.bits, static_cast<Key>(total)));
    Crossing const block = find_crossing(blocks_of(row.ids), target, [&](std::int64_t i) { return totals[i]; });
    std::int64_t const first = block.index * vocabulary_block;
    Crossing const id = find_crossing(min(row.ids - first, vocabulary_block), block.target, [&](std::int64_t i) {
        float const w = row.weight(first + i);
        return w >= 1.0F && key_of(w, static_cast<int>(first + i)) >= cut ? whole(w) : Whole{0};
    });
    int const token = static_cast<int>(first + id.index);
    double const share = static_cast<double>(whole(row.weight(token))) / static_cast<double>(total);
    return {token, static_cast<float>(log(share))};
}

// For a warp: the lowest id of the largest logit.
__device__ int lowest_of_largest(Row const& row, float const* largest) {
    Crossing const block = find_crossing(blocks_of(row.ids), 0,
                                         [&](std::int64_t i) { return largest[i] == row.max ? Whole{1} : Whole{0}; });
    std::int64_t const first = block.index * vocabulary_block;
    if (first >= row.ids) return 0;  // not a number
    Crossing const id = find_crossing(min(row.ids - first, vocabulary_block), 0, [&](std::int64_t i) {
        return row.logits[first + i] == row.max ? Whole{1} : Whole{0};
    });
    return static_cast<int>(first + id.index);
}

// The cuts of a row, one after the other; totals[blocks] and their sum follow them. Returns the last key that is kept.
__device__ Key apply_cuts(Row const& row, Shared& shared, Draw const& draw, Whole* totals, Whole& total) {
    Key cut = 0;
    auto const keep = [&](Key last) {
        cut = last;
        keep_totals(row, totals, cut);
        total = total_of(shared, totals, blocks_of(row.ids));
    };
    if (draw.top_k > 0) {
        Key const last = find_cut(row, shared, By::count, draw.top_k, 0);
        if (last != 0) keep(last);
    }
    if (draw.cut_by_share) {
        auto const of_total = static_cast<Key>(total);
        Whole const share = static_cast<Whole>(__umul64hi(draw.share, of_total)) + (draw.share * of_total == 0 ? 0 : 1);
        Whole const need = max(share, Whole{1});
        // All weights up to the average of what may go sum up to no more than may go.
        auto const average = static_cast<float>((total - need) / row.ids);
        Key const least = average > 2.0F ? key_of(average * 0.999F, static_cast<int>(last_id)) : 0;
        keep(find_cut(row, shared, By::sum, need, max(cut, least)));
    }
    return cut;
}

// A block draws for a row.
__global__ void __launch_bounds__(most_draw_threads, 1) draw_kernel(Tables t) {
    __shared__ Shared shared;
    std::int64_t const number = blockIdx.x;
    unsigned const lane = threadIdx.x % 32;
    Draw const draw = t.draws[number];
    std::int64_t const blocks = blocks_of(t.vocabulary), id_blocks = blocks_of(t.ids);
    float const* const largest = t.largest + number * blocks;
    Row const row{t.logits + number * t.vocabulary, t.ids, largest_of_row(largest, blocks, lane), draw.temperature,
                  t.vectors};
    Drawn drawn{0, 0.0F};
    bool counts = true;  // there is something to draw from; all threads agree
    if (t.log_sum_exp != nullptr) {
        float const merged = merged_log_sum_exp(t.sums + number * blocks, blocks, lane);
        if (threadIdx.x == 0) t.log_sum_exp[number] = merged;
        counts = fabsf(merged) < INFINITY;
    }
    if (counts && draw.temperature == 0.0F) {
        if (threadIdx.x < 32) drawn.token = lowest_of_largest(row, largest);
    } else if (counts) {
        Whole* const totals = t.totals + number * id_blocks;
        Whole total = fabsf(row.max) < INFINITY ? total_of(shared, totals, id_blocks) : 0;
        Key const cut = total > 0 ? apply_cuts(row, shared, draw, totals, total) : 0;
        if (total <= 0)
            drawn.token = -1;
        else if (threadIdx.x < 32)
            drawn = draw_token(row, draw, totals, total, cut);
    }
    if (threadIdx.x != 0) return;
    t.tokens[number] = drawn.token;
    t.log_probability[number] = drawn.log_probability;
}

Draw draw_of(Sampling const& sampling, std::int64_t ids) {
    bool const cuts = 0 < sampling.top_k && sampling.top_k < ids;
    bool const shares = sampling.top_p < 1;
    // A double below 1 is a whole number of 2^-64 but for bits that are cut off below it.
    double const share = shares ? std::ldexp(std::max(sampling.top_p, 0.0), 64) : 0;
    return {static_cast<float>(sampling.temperature), shares, cuts ? sampling.top_k : 0,
            static_cast<unsigned long long>(share), sampling.bits};
}

}  // namespace

void sample(TensorView tokens, TensorView log_probability, TensorView log_sum_exp, TensorView logits, std::int64_t ids,
            std::span<Sampling const> rows, Stream& stream) {
    std::int64_t const vocabulary = logits.dim(1), count = logits.dim(0);
    SELVAGE_CHECK(count == static_cast<std::int64_t>(rows.size()) && tokens.elements() == count &&
                      log_probability.elements() == count,
                  "{} rows of logits, {} draws, {} tokens", count, rows.size(), tokens.elements());
    SELVAGE_CHECK(0 < ids && ids <= vocabulary && vocabulary <= (std::int64_t{1} << id_bits),
                  "{} ids of a vocabulary of {}", ids, vocabulary);
    if (count == 0) return;
    thread_local std::vector<Draw> draws;  // keeps its memory
    draws.clear();
    for (Sampling const& row : rows) draws.push_back(draw_of(row, ids));
    // Working memory, what is aligned most first.
    auto const blocks = static_cast<std::size_t>(count * blocks_of(vocabulary));
    auto const id_blocks = static_cast<std::size_t>(count * blocks_of(ids));
    std::size_t const bytes = id_blocks * sizeof(Whole) + blocks * (sizeof(BlockSum) + sizeof(float));
    auto* const totals = reinterpret_cast<Whole*>(scratch<std::byte>(bytes, stream));
    auto* const sums = reinterpret_cast<BlockSum*>(totals + id_blocks);
    auto* const largest = reinterpret_cast<float*>(sums + blocks);
    bool const merge = !log_sum_exp.empty();
    float const* const x = logits.as<float>();
    Tables const tables{.tokens = tokens.as<std::int32_t>(),
                        .log_probability = log_probability.as<float>(),
                        .log_sum_exp = merge ? log_sum_exp.as<float>() : nullptr,
                        .logits = x,
                        .vocabulary = vocabulary,
                        .ids = ids,
                        .draws = upload(std::span<Draw const>(draws), stream),
                        .sums = sums,
                        .largest = largest,
                        .totals = totals,
                        .vectors = vectors_in_rows(x, vocabulary)};
    compute_block_sums(merge ? sums : nullptr, largest, logits, ids, stream);
    launch(weight_totals_kernel, grid_of_blocks(count, ids), 32 * warps_per_block, 0, stream, tables);
    constexpr std::int64_t many_ids = 16384;
    launch(draw_kernel, static_cast<unsigned>(count), ids > many_ids ? most_draw_threads : most_draw_threads / 2, 0,
           stream, tables);
}

void fill_sampling(Operations& operations) { operations.sample = sample; }

}  // namespace selvage::kernels::cuda
