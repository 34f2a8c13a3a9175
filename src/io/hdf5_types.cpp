// SPDX-License-Identifier: Apache-2.0
#include "io/hdf5_types.h"

namespace selvage::io {

hid_t file_type(Element element) {
    switch (element) {
        case Element::u8:
            return H5T_STD_U8LE;
        case Element::i32:
            return H5T_STD_I32LE;
        case Element::i64:
            return H5T_STD_I64LE;
        case Element::f32:
            return H5T_IEEE_F32LE;
        case Element::f64:
            return H5T_IEEE_F64LE;
        case Element::text:
            break;
    }
    fail(ExitCode::internal, "text has no fixed type; this is a bug in Selvage, please report it");
}

hid_t memory_type(Element element) {
    switch (element) {
        case Element::u8:
            return H5T_NATIVE_UINT8;
        case Element::i32:
            return H5T_NATIVE_INT32;
        case Element::i64:
            return H5T_NATIVE_INT64;
        case Element::f32:
            return H5T_NATIVE_FLOAT;
        case Element::f64:
            return H5T_NATIVE_DOUBLE;
        case Element::text:
            break;
    }
    fail(ExitCode::internal, "text has no fixed type; this is a bug in Selvage, please report it");
}

Handle text_type(std::size_t length) {
    Subject const subject{"(a text type)", ExitCode::internal};
    Handle type(SELVAGE_HDF5(subject, "text", H5Tcopy, H5T_C_S1), H5Tclose);
    SELVAGE_HDF5(subject, "text", H5Tset_size, type, length);
    SELVAGE_HDF5(subject, "text", H5Tset_cset, type, H5T_CSET_UTF8);
    // Variable-length text ends with a zero byte; fixed-length text is padded with them.
    if (length != H5T_VARIABLE) SELVAGE_HDF5(subject, "text", H5Tset_strpad, type, H5T_STR_NULLPAD);
    return type;
}

}  // namespace selvage::io
