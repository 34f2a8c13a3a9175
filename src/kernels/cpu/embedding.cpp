// SPDX-License-Identifier: Apache-2.0
#include "kernels/embedding.h"

#include <algorithm>

#include "kernels/cpu/table.h"
#include "kernels/cpu/threads.h"

namespace selvage::kernels {
namespace {

std::int64_t row_size(TensorView view) {
    return view.rank() == 0 || view.dim(0) == 0 ? 0 : view.elements() / view.dim(0);
}

// The rows that an index list names lie within a table of `rows` rows of the same size.
void check_rows(TensorView list, std::int64_t rows, std::int64_t size_a, std::int64_t size_b) {
    SELVAGE_CHECK(list.empty() || size_a == size_b, "rows of {} and {} elements", size_a, size_b);
    for (std::int64_t i = 0; i < list.elements(); ++i) {
        std::int32_t const row = list.as<std::int32_t const>()[i];
        SELVAGE_CHECK(row >= 0 && row < rows, "row {} of a table of {} rows", row, rows);
    }
}

}  // namespace

void gather_rows(TensorView out, TensorView in, TensorView rows, Stream&) {
    if (rows.empty()) return;
    std::int64_t const size = row_size(in);
    check_rows(rows, in.dim(0), size, row_size(out));
    float* const to = out.as<float>();
    float const* const from = in.as<float>();
    std::int32_t const* const list = rows.as<std::int32_t>();
    parallel_for(rows.elements(), 1, rows.elements() * size, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) std::copy_n(from + list[i] * size, size, to + i * size);
    });
}

void embedding_forward(TensorView out, TensorView table, TensorView tokens, Stream& stream) {
    gather_rows(out, table, tokens, stream);
}

void embedding_backward(TensorView d_table, TensorView d_out, TensorView tokens, Stream&) {
    if (tokens.empty()) return;
    std::int64_t const size = row_size(d_table);
    check_rows(tokens, d_table.dim(0), size, row_size(d_out));
    float* const to = d_table.as<float>();
    float const* const from = d_out.as<float>();
    std::int32_t const* const list = tokens.as<std::int32_t>();
    std::int64_t const rows = tokens.elements();
    parallel_for(size, 16, rows * size, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = 0; i < rows; ++i)
            kernel_table().add(to + list[i] * size + begin, from + i * size + begin, end - begin);
    });
}

void scatter_rows(TensorView out, TensorView in, TensorView rows, Stream&) {
    if (rows.empty()) return;
    std::int64_t const size = row_size(out);
    check_rows(rows, out.dim(0), size, row_size(in));
    float* const to = out.as<float>();
    float const* const from = in.as<float>();
    std::int32_t const* const list = rows.as<std::int32_t>();
    parallel_for(rows.elements(), 1, rows.elements() * size, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) std::copy_n(from + i * size, size, to + list[i] * size);
    });
}

}  // namespace selvage::kernels
