// SPDX-License-Identifier: Apache-2.0
#pragma once
// Private to huggingface: where each parameter lies among the tensors of a folder. Both turn halves of a head's dims
// against each other (rotary embedding), so that no family's rows need another order than its own.
#include <string>
#include <vector>

#include "huggingface/families.h"
#include "io/safetensors.h"
#include "tensor/parameter_set.h"

namespace selvage::huggingface {

// Row r of the parameter is row first + (r / block) * stride + r % block of the tensor.
struct Source {
    std::string tensor;
    std::int64_t first = 0, block = 1, stride = 1;

    // Calls use(rows of the parameter, first row of the tensor) for runs of rows that lie together in both.
    template <class Use>
    void for_each_run(Range rows, Use const& use) const {
        for (std::int64_t row = rows.begin; row < rows.end;) {
            std::int64_t const end = std::min(rows.end, (row / block + 1) * block);
            use(Range{row, end}, first + row / block * stride + row % block);
            row = end;
        }
    }
};
Source source_of(Family const& family, ModelConfig const& model, ParameterSpec const& parameter);

// The tensors that the parameters make up, in their order, with their dims and no type.
std::vector<io::StoredTensor> tensors_of(Family const& family, ModelConfig const& model,
                                         std::vector<ParameterSpec> const& parameters);

// Tensors that some versions of transformers stored and none reads: tables that follow from the configuration.
bool is_left_over(std::string_view tensor);

std::int64_t rows_of(ParameterSpec const& parameter);
std::int64_t row_elements(ParameterSpec const& parameter);

}  // namespace selvage::huggingface
