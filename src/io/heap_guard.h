// SPDX-License-Identifier: Apache-2.0
#pragma once
// Private to io: global heaps (where HDF5 keeps text of variable length) of files without our digest.
#include "io/posix_file.h"

namespace selvage::io {

// HDF5 1.10 trusts the sizes inside a global heap, which has no checksum: a zero makes it loop for ever, a large one
// makes it read past the end. Error(bad_data) where the walk through a heap does not end at its end.
void check_global_heaps(PosixFile const& file);

}  // namespace selvage::io
