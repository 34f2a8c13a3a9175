// SPDX-License-Identifier: Apache-2.0
#include "model/tensor_axis.h"

#include <algorithm>
#include <cstring>

#include "kernels/activation.h"

namespace selvage {
namespace {

constexpr std::int64_t few_rows = 64;

std::size_t row_bytes_of(TensorView view) {
    return static_cast<std::size_t>(view.elements() / std::max<std::int64_t>(view.dim(0), 1)) * size_of(view.dtype());
}

}  // namespace

bool TensorAxis::is_split(std::int64_t rows, Split split) const {
    return size() > 1 && (split == Split::always || rows > few_rows);
}

Range TensorAxis::rows_of(std::int64_t rows, Split split, int rank) const {
    return is_split(rows, split) ? EvenSplit(rows, size()).part(rank) : Range{0, rows};
}

std::int64_t TensorAxis::most_own(std::int64_t rows, Split split) const {
    std::int64_t const share = (rows + size() - 1) / size();
    return split == Split::for_many ? std::max(share, std::min(rows, few_rows)) : share;
}

std::vector<std::size_t> const& TensorAxis::counts(std::int64_t rows, std::size_t row_bytes) {
    counts_.clear();
    for (int r = 0; r < size(); ++r)
        counts_.push_back(static_cast<std::size_t>(rows_of(rows, Split::always, r).size()) * row_bytes);
    return counts_;
}

void TensorAxis::gather(TensorView all, Split split) {
    std::int64_t const rows = all.dim(0);
    if (!is_split(rows, split)) return;
    Range const own = this->own(rows, split);
    std::size_t const row_bytes = row_bytes_of(all);
    auto* const bytes = static_cast<std::byte*>(all.raw());
    ranks_.all_gather_v(
        {bytes + static_cast<std::size_t>(own.begin) * row_bytes, static_cast<std::size_t>(own.size()) * row_bytes},
        {bytes, static_cast<std::size_t>(rows) * row_bytes}, counts(rows, row_bytes));
}

void TensorAxis::sum(TensorView own, TensorView partial, Split split, Stream& stream) {
    std::int64_t const rows = partial.dim(0);
    std::size_t const row_bytes = row_bytes_of(partial);
    std::size_t const part = static_cast<std::size_t>(this->own(rows, split).size()) * row_bytes;
    received_.resize(std::max(received_.size(), part * static_cast<std::size_t>(size())));
    std::span<std::byte> const received(received_.data(), part * static_cast<std::size_t>(size()));
    std::span<std::byte const> const mine(static_cast<std::byte const*>(partial.raw()),
                                          static_cast<std::size_t>(rows) * row_bytes);
    if (is_split(rows, split)) {
        own_counts_.assign(static_cast<std::size_t>(size()), part);
        ranks_.all_to_all_v(mine, counts(rows, row_bytes), received, own_counts_);
    } else {
        ranks_.all_gather(mine, received);
    }
    if (part == 0) return;
    std::memcpy(own.raw(), received.data(), part);
    for (int r = 1; r < size(); ++r) {
        auto* const other = reinterpret_cast<float*>(received.data() + static_cast<std::size_t>(r) * part);
        kernels::add_in_place(own, TensorView::of(other, own.shape()), stream);
    }
}

}  // namespace selvage
