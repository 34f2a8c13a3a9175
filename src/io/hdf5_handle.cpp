// SPDX-License-Identifier: Apache-2.0
#include "io/hdf5_handle.h"

namespace selvage::io {
namespace {

// The innermost entry of the error stack comes first when it is walked upwards.
herr_t keep_innermost(unsigned position, H5E_error2_t const* entry, void* into) {
    auto& text = *static_cast<std::string*>(into);
    if (position == 0 && entry != nullptr && entry->desc != nullptr) text = entry->desc;
    return 0;
}

}  // namespace

void quiet_hdf5() { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); }

void fail_hdf5(char const* call, Subject const& subject, std::string_view object) {
    std::string reason;
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, &reason);
    H5Eclear2(H5E_DEFAULT);
    if (reason.empty()) reason = "HDF5 gives no reason";
    if (subject.code == ExitCode::io)
        fail(subject.code, "cannot write {} of {} ({}: {}); check the disk and its free space", object,
             subject.file.string(), call, reason);
    fail(subject.code, "cannot read {} of {} ({}: {}); the file is damaged or was not written by Selvage", object,
         subject.file.string(), call, reason);
}

std::string hdf5_version() {
    unsigned major = 0, minor = 0, release = 0;
    H5get_libversion(&major, &minor, &release);
    return fmt::format("{}.{}.{}", major, minor, release);
}

}  // namespace selvage::io
