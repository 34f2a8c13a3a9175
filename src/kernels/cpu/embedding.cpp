// SPDX-License-Identifier: Apache-2.0
#include "kernels/embedding.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "kernels/cpu/operations.h"
#include "kernels/cpu/table.h"
#include "kernels/cpu/threads.h"

namespace selvage::kernels::cpu {
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

struct Places {
    std::int64_t to;
    std::int64_t from;
};
// Copies `count` rows of `size` elements, row i between places(i).
template <class PlacesOf>
void copy_rows(TensorView out, TensorView in, std::int64_t count, std::int64_t size, PlacesOf const& places) {
    SELVAGE_CHECK(out.dtype() == in.dtype(), "rows of {} and {}", name_of(out.dtype()), name_of(in.dtype()));
    std::size_t const bytes = static_cast<std::size_t>(size) * size_of(in.dtype());
    auto* const to = static_cast<std::byte*>(out.raw());
    auto const* const from = static_cast<std::byte const*>(in.raw());
    parallel_for(count, 1, count * size, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
            Places const place = places(i);
            std::memcpy(to + static_cast<std::size_t>(place.to) * bytes,
                        from + static_cast<std::size_t>(place.from) * bytes, bytes);
        }
    });
}

}  // namespace

void gather_rows(TensorView out, TensorView in, TensorView rows, Stream&) {
    if (rows.empty()) return;
    std::int64_t const size = row_size(in);
    check_rows(rows, in.dim(0), size, row_size(out));
    std::int32_t const* const list = rows.as<std::int32_t>();
    copy_rows(out, in, rows.elements(), size, [list](std::int64_t i) { return Places{i, list[i]}; });
}

void embedding_forward(TensorView out, TensorView table, TensorView tokens, Stream&) {
    if (tokens.empty()) return;
    std::int64_t const size = row_size(out);
    std::int64_t const held = table.empty() ? 0 : table.dim(0);
    SELVAGE_CHECK(held == 0 || row_size(table) == size, "rows of {} and {} elements", row_size(table), size);
    float const* const from = held == 0 ? nullptr : table.as<float>();
    float* const to = out.as<float>();
    std::int32_t const* const list = tokens.as<std::int32_t>();
    parallel_for(tokens.elements(), 1, tokens.elements() * size, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i)
            if (0 <= list[i] && list[i] < held)
                std::copy_n(from + list[i] * size, size, to + i * size);
            else
                std::fill_n(to + i * size, size, 0.0F);
    });
}

void embedding_backward(TensorView d_table, TensorView d_out, TensorView tokens, Stream&) {
    if (tokens.empty() || d_table.empty()) return;
    std::int64_t const size = row_size(d_table);
    std::int64_t const held = d_table.dim(0);
    SELVAGE_CHECK(row_size(d_out) == size, "rows of {} and {} elements", row_size(d_out), size);
    float* const to = d_table.as<float>();
    float const* const from = d_out.as<float>();
    std::int32_t const* const list = tokens.as<std::int32_t>();
    std::int64_t const rows = tokens.elements();
    parallel_for(size, 16, rows * size, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = 0; i < rows; ++i)
            if (0 <= list[i] && list[i] < held)
                kernel_table().add(to + list[i] * size + begin, from + i * size + begin, end - begin);
    });
}

void scatter_rows(TensorView out, TensorView in, TensorView rows, Stream&) {
    if (rows.empty()) return;
    std::int64_t const size = row_size(out);
    check_rows(rows, out.dim(0), size, row_size(in));
    std::int32_t const* const list = rows.as<std::int32_t>();
    copy_rows(out, in, rows.elements(), size, [list](std::int64_t i) { return Places{list[i], i}; });
}

void fill_embedding(Operations& operations) {
    operations.embedding_forward = embedding_forward;
    operations.embedding_backward = embedding_backward;
    operations.gather_rows = gather_rows;
    operations.scatter_rows = scatter_rows;
}

}  // namespace selvage::kernels::cpu
