// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the bits of a row may depend on.
#include <string>

#include "device/stream.h"

namespace selvage::kernels {

// true, the default: a row's bits do not depend on what else is in the batch. false: on a GPU, products in bf16 go by
// what cuBLASLt takes for the fastest at each size, and attention in bf16 by cuDNN; another number of rows, a second
// run and generation beside training may then differ in last bits. For all that follows, in the whole process. Returns
// a sentence for the log on what that means on `device`; empty for true.
std::string set_batch_invariant(bool batch_invariant, DeviceKind device);

// What was set last.
bool is_batch_invariant(DeviceKind device);

}  // namespace selvage::kernels
