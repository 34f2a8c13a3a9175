// SPDX-License-Identifier: Apache-2.0
#pragma once
// Private to io: owners of HDF5 identifiers, and failures of HDF5 calls as Errors.
#include <hdf5.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace selvage::io {

// Owns one identifier; move-only. Closing errors are ignored here: the file itself is closed with a check.
class Handle {
  public:
    using Close = herr_t (*)(hid_t);
    Handle() = default;
    Handle(hid_t id, Close close) : id_(id), close_(close) {}
    ~Handle() { reset(); }
    Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
    Handle& operator=(Handle&& other) noexcept {
        if (this != &other) {
            reset();
            id_ = std::exchange(other.id_, -1);
            close_ = other.close_;
        }
        return *this;
    }
    operator hid_t() const { return id_; }  // NOLINT: passed to HDF5 calls everywhere
    void reset() {
        if (id_ >= 0) close_(std::exchange(id_, -1));
    }
    hid_t release() { return std::exchange(id_, -1); }

  private:
    hid_t id_ = -1;
    Close close_ = nullptr;
};

// What a call works on, for its error message; `code` is bad_data for readers and io for writers.
struct Subject {
    std::filesystem::path file;
    ExitCode code = ExitCode::bad_data;
};

// Turns off HDF5's own printing of errors; before the first call on every file.
void quiet_hdf5();

[[noreturn]] void fail_hdf5(char const* call, Subject const& subject, std::string_view object);

// The result of an HDF5 call that says failure by a negative value.
template <class Result>
Result check_hdf5(Result result, char const* call, Subject const& subject, std::string_view object) {
    if (result < 0) fail_hdf5(call, subject, object);
    return result;
}

}  // namespace selvage::io

// SELVAGE_HDF5(subject, "/tokens", H5Dread, arguments...): the call's result, or an Error that names all of it.
#define SELVAGE_HDF5(subject, object, call, ...) ::selvage::io::check_hdf5(call(__VA_ARGS__), #call, subject, object)
