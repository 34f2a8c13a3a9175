// SPDX-License-Identifier: Apache-2.0
#include "model/tensor_axis.h"

#include <algorithm>

#include "kernels/activation.h"
#include "tensor/host_copy.h"

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

void TensorAxis::gather(TensorView all, Split split, Stream& stream) {
    std::int64_t const rows = all.dim(0);
    if (is_split(rows, split)) collectives_.all_gather(all, counts(rows, row_bytes_of(all)), stream);
}

void TensorAxis::sum(TensorView own, TensorView partial, Split split, Stream& stream) {
    std::int64_t const rows = partial.dim(0);
    std::int64_t const part = this->own(rows, split).size() * (partial.elements() / std::max<std::int64_t>(rows, 1));
    std::int64_t const all_parts = part * size();
    if (received_.view().elements() < all_parts || received_.view().empty())
        received_ = Tensor(arena_, "sums over the tensor axis", DType::f32, {std::max<std::int64_t>(all_parts, 1)});
    TensorView const received = received_.first(all_parts);
    if (is_split(rows, split)) {
        own_counts_.assign(static_cast<std::size_t>(size()), static_cast<std::size_t>(part) * sizeof(float));
        collectives_.all_to_all(received, own_counts_, partial, counts(rows, row_bytes_of(partial)), stream);
    } else {
        collectives_.all_gather(received, partial, stream);
    }
    if (part == 0) return;
    copy(own, received.rows(0, part), stream);
    for (int r = 1; r < size(); ++r)
        kernels::add_in_place(own, received.rows(r * part, (r + 1) * part).reshape(own.shape()), stream);
}

}  // namespace selvage
