// SPDX-License-Identifier: Apache-2.0
#pragma once
// Private to io: HDF5's types for our elements.
#include "io/hdf5_handle.h"
#include "io/schema.h"

namespace selvage::io {

// Borrowed from the library; not for Element::text.
hid_t file_type(Element element);    // little-endian
hid_t memory_type(Element element);  // of this machine
// UTF-8 text of `length` bytes, or of any length (H5T_VARIABLE).
Handle text_type(std::size_t length);

}  // namespace selvage::io
