// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

namespace selvage::kernels {

// What becomes of the values that an output holds already.
enum class Accumulate : std::uint8_t { overwrite, add };

}  // namespace selvage::kernels
