// SPDX-License-Identifier: Apache-2.0
#include "kernels/embedding.h"

#include <algorithm>

#include "kernels/cuda/elements.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/reduce.h"

namespace selvage::kernels::cuda {
namespace {

constexpr int copy_threads = 128;
constexpr int threads = 256;
constexpr int batch = 512;  // rows that a block lists before it adds them
constexpr int rows_at_once = 4;

enum class Direction : std::uint8_t { gather, scatter };

// Rows of `size` units each; those that the list names outside of the table are zeros, or go nowhere.
template <class Unit, Direction direction>
__global__ void __launch_bounds__(copy_threads)
    copy_rows_kernel(Unit* to, Unit const* from, std::int32_t const* list, std::int64_t size, std::int64_t held) {
    std::int64_t const i = static_cast<std::int64_t>(blockIdx.y) * copy_threads + threadIdx.x;
    if (i >= size) return;
    std::int64_t const row = blockIdx.x;
    std::int64_t const named = list[row];
    bool const inside = 0 <= named && named < held;
    if (direction == Direction::gather)
        to[row * size + i] = inside ? from[named * size + i] : Unit{};
    else if (inside)
        to[named * size + i] = from[row * size + i];
}

struct Rows {
    void* to;
    void const* from;
    std::int32_t const* list;
    std::int64_t count;
    std::int64_t bytes;  // of one
    std::int64_t held;   // by the table
};

template <Direction direction>
void copy_rows(Rows const& rows, Stream& stream) {
    auto const by = [&]<class Unit>() {
        std::int64_t const size = rows.bytes / static_cast<std::int64_t>(sizeof(Unit));
        dim3 const grid(static_cast<unsigned>(rows.count),
                        static_cast<unsigned>((size + copy_threads - 1) / copy_threads));
        launch(copy_rows_kernel<Unit, direction>, grid, copy_threads, 0, stream, static_cast<Unit*>(rows.to),
               static_cast<Unit const*>(rows.from), rows.list, size, rows.held);
    };
    auto const fits = [&](std::size_t size) {
        return rows.bytes % static_cast<std::int64_t>(size) == 0 && aligned_for(size, rows.to, rows.from);
    };
    if (fits(16)) return by.template operator()<uint4>();
    if (fits(4)) return by.template operator()<std::uint32_t>();
    by.template operator()<std::uint16_t>();
}

// The rows of one batch, in order; shared by a block.
struct Batch {
    std::int64_t rows[batch];  // of d_out
    int tokens[batch];
    int next[batch];  // with the same token; -1: none
    bool first[batch];
    int counts[threads / 32];
};

// A block has the tokens whose remainder by the number of blocks is its own. Lists the rows that have one, from `row`
// on until there may be no room for more. Returns where to go on; all threads get the same.
__device__ std::int64_t list_rows(Batch& listed, int& count, std::int32_t const* tokens, std::int64_t row,
                                  std::int64_t rows, std::int64_t held) {
    unsigned const lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    auto const token_at = [&](std::int64_t i) { return i < rows ? tokens[i] : -1; };
    count = 0;
    int next = token_at(row + threadIdx.x);
    for (; row < rows && count + threads <= batch; row += threads) {
        int const token = next;
        next = token_at(row + threads + threadIdx.x);  // asked for early
        bool const mine = 0 <= token && token < held && static_cast<unsigned>(token) % gridDim.x == blockIdx.x;
        unsigned const ballot = __ballot_sync(all_lanes, mine ? 1 : 0);
        if (lane == 0) listed.counts[warp] = __popc(ballot);
        __syncthreads();
        int place = count + __popc(ballot & ((1U << lane) - 1));
        for (unsigned i = 0; i < threads / 32; ++i) {
            if (i < warp) place += listed.counts[i];
            count += listed.counts[i];
        }
        if (mine) {
            listed.rows[place] = row + threadIdx.x;
            listed.tokens[place] = token;
        }
        __syncthreads();
    }
    return row;
}

// Links the rows of each token.
__device__ void link_rows(Batch& listed, int count) {
    for (int i = static_cast<int>(threadIdx.x); i < count; i += threads) {
        int const token = listed.tokens[i];
        int next = i + 1;
        while (next < count && listed.tokens[next] != token) ++next;
        listed.next[i] = next < count ? next : -1;
        int before = i - 1;
        while (before >= 0 && listed.tokens[before] != token) --before;
        listed.first[i] = before < 0;
    }
    __syncthreads();
}

// sum += the rows linked from `i` on, one after the other; so many are read at once.
template <int width>
__device__ void add_linked(Vector<width>& sum, Batch const& listed, int i, float const* d_out, std::int64_t size) {
    while (i >= 0) {
        Vector<width> d[rows_at_once] = {};
        int count = 0;
#pragma unroll
        for (int k = 0; k < rows_at_once; ++k) {
            if (i < 0) continue;
            d[k] = load<width>(d_out + listed.rows[i] * size);
            i = listed.next[i];
            count = k + 1;
        }
#pragma unroll
        for (int k = 0; k < rows_at_once; ++k)
            if (k < count)
                for (int j = 0; j < width; ++j) sum[j] += d[k][j];
    }
}

// d_table[token, :] += the rows of d_out with that token, one after the other. A row of the table belongs to one block,
// an element of it to one thread.
template <int width>
__global__ void __launch_bounds__(threads)
    embedding_backward_kernel(float* d_table, float const* d_out, std::int32_t const* tokens, std::int64_t rows,
                              std::int64_t size, std::int64_t held) {
    __shared__ Batch listed;
    std::int64_t const column = (static_cast<std::int64_t>(blockIdx.y) * threads + threadIdx.x) * width;
    for (std::int64_t row = 0; row < rows;) {
        int count = 0;
        row = list_rows(listed, count, tokens, row, rows, held);
        link_rows(listed, count);
        for (int i = 0; i < count && column < size; ++i) {
            if (!listed.first[i]) continue;
            float* const to = d_table + listed.tokens[i] * size + column;
            Vector<width> sum = load<width>(to);
            add_linked(sum, listed, i, d_out + column, size);
            store(to, sum);
        }
    }
}

std::int64_t row_size(TensorView view) {
    return view.rank() == 0 || view.dim(0) == 0 ? 0 : view.elements() / view.dim(0);
}

void check_rows(TensorView out, TensorView in) {
    SELVAGE_CHECK(out.dtype() == in.dtype(), "rows of {} and {}", name_of(out.dtype()), name_of(in.dtype()));
    SELVAGE_CHECK(row_size(out) == row_size(in), "rows of {} and {} elements", row_size(out), row_size(in));
}

std::int64_t row_bytes(TensorView view) { return row_size(view) * static_cast<std::int64_t>(size_of(view.dtype())); }

}  // namespace

void gather_rows(TensorView out, TensorView in, TensorView rows, Stream& stream) {
    if (rows.empty()) return;
    check_rows(out, in);
    copy_rows<Direction::gather>(
        {out.raw(), in.raw(), rows.as<std::int32_t>(), rows.elements(), row_bytes(in), in.dim(0)}, stream);
}

void scatter_rows(TensorView out, TensorView in, TensorView rows, Stream& stream) {
    if (rows.empty()) return;
    check_rows(out, in);
    copy_rows<Direction::scatter>(
        {out.raw(), in.raw(), rows.as<std::int32_t>(), rows.elements(), row_bytes(in), out.dim(0)}, stream);
}

void embedding_forward(TensorView out, TensorView table, TensorView tokens, Stream& stream) {
    if (tokens.empty()) return;
    std::int64_t const held = table.empty() ? 0 : table.dim(0);
    SELVAGE_CHECK(out.dtype() == DType::f32 && (held == 0 || table.dtype() == DType::f32), "an embedding in {}",
                  name_of(table.dtype()));
    SELVAGE_CHECK(held == 0 || row_size(table) == row_size(out), "rows of {} and {} elements", row_size(table),
                  row_size(out));
    copy_rows<Direction::gather>(
        {out.raw(), table.raw(), tokens.as<std::int32_t>(), tokens.elements(), row_bytes(out), held}, stream);
}

void embedding_backward(TensorView d_table, TensorView d_out, TensorView tokens, Stream& stream) {
    if (tokens.empty() || d_table.empty()) return;
    std::int64_t const size = row_size(d_table);
    SELVAGE_CHECK(row_size(d_out) == size, "rows of {} and {} elements", row_size(d_out), size);
    std::int64_t const rows = tokens.elements();
    float* const to = d_table.as<float>();
    float const* const from = d_out.as<float>();
    // A few rows for each block: it adds them one by one, but looks at all tokens.
    constexpr std::int64_t rows_per_block = 8, most_blocks = 1024;
    std::int64_t const buckets = std::clamp<std::int64_t>(rows / rows_per_block, 1, most_blocks);
    auto const run = [&]<int width>() {
        std::int64_t const each = std::int64_t{threads} * width;
        dim3 const grid(static_cast<unsigned>(buckets), static_cast<unsigned>((size + each - 1) / each));
        launch(embedding_backward_kernel<width>, grid, threads, 0, stream, to, from, tokens.as<std::int32_t>(), rows,
               size, d_table.dim(0));
    };
    if (size % 4 == 0 && aligned_for(16, to, from))
        run.template operator()<4>();
    else
        run.template operator()<1>();
}

void fill_embedding(Operations& operations) {
    operations.embedding_forward = embedding_forward;
    operations.embedding_backward = embedding_backward;
    operations.gather_rows = gather_rows;
    operations.scatter_rows = scatter_rows;
}

}  // namespace selvage::kernels::cuda
