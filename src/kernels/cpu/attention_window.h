// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/attention.h"
#include "kernels/cpu/table.h"

namespace selvage::kernels::cpu {

// As the tables' functions have it.
inline std::int64_t window_of(AttentionOptions const& options) {
    return options.window == 0 ? all_keys : options.window;
}

}  // namespace selvage::kernels::cpu
