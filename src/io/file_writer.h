// SPDX-License-Identifier: Apache-2.0
#pragma once
// Private to io: an HDF5 file that appears under its name whole or not at all.
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "comm/communicator.h"
#include "io/files.h"
#include "io/hdf5_handle.h"
#include "io/posix_file.h"
#include "io/schema.h"
#include "tensor/layout.h"

namespace selvage::io {

using Dims = std::vector<std::int64_t>;

// About 1 MiB, and a function of the global shape alone.
Dims chunk_shape(Dims const& dims, std::size_t element_bytes);

class FileWriter {
  public:
    struct Options {
        // The ranks that write it together; all calls are then collective over them, with equal arguments but for the
        // rows of write_rows. nullptr: the caller alone.
        Communicator* writers = nullptr;
        // Content in bytes. Space for it is taken before the first byte is written, so that a full disk is an Error
        // here and not a failure deep inside HDF5; 0 takes none.
        std::int64_t expected_bytes = 0;
    };
    // Opens a temporary name in the folder of `path`, which is made where it is not there.
    FileWriter(Path path, std::string_view format, Options const& options);
    // Removes what was not committed.
    ~FileWriter();
    FileWriter(FileWriter const&) = delete;
    FileWriter& operator=(FileWriter const&) = delete;

    std::string const& format() const { return format_; }
    // The root attributes of every file, and those of this one.
    void root_attributes(std::string const& deck, Attributes const& attributes);
    void group(std::string const& name);
    void text_attribute(std::string const& object, std::string const& name, std::string const& value);
    void integer_attribute(std::string const& object, std::string const& name, std::int64_t value);
    void int32_attribute(std::string const& object, std::string const& name, std::int32_t value);
    void number_attribute(std::string const& object, std::string const& name, double value);

    // A dataset of the format's schema.
    template <class T>
    void column(std::string const& name, std::span<T const> values) {
        array(name, ElementOf<T>::value, column_of(format_, name).notes, {static_cast<std::int64_t>(values.size())},
              values.data());
    }
    template <class T>
    void column(std::string const& name, std::vector<T> const& values) {
        column(name, std::span<T const>(values));
    }
    void text_column(std::string const& name, std::vector<std::string> const& values);
    // Any dataset; empty dims make a scalar. With several writers the first brings the values; those of a scalar are
    // equal on all.
    void array(std::string const& name, Element element, Notes const& notes, Dims const& dims, void const* values);
    // A float dataset to be filled by rows of its first dim.
    Handle create_floats(std::string const& name, Notes const& notes, Dims const& dims);
    // Every writer gives its own rows, below 2 GiB (none is fine). Scalars have one row.
    void write_rows(Handle const& dataset, std::string const& name, Dims const& dims, Range rows, float const* values);
    void hard_link(std::string const& existing, std::string const& name);

    // Flush, close, digest, sync, rename, folder synced. Returns the file's bytes.
    std::int64_t commit();

  private:
    bool is_first() const { return writers_ == nullptr || writers_->rank() == 0; }
    template <class Action>
    void together(Action&& action);
    void reserve(std::int64_t expected_bytes, int mode);
    void open_hdf5();
    void close_hdf5();
    void discard();
    Handle create(std::string const& name, hid_t type, std::size_t element_bytes, Notes const& notes, Dims const& dims);
    void write(hid_t dataset, std::string const& name, hid_t memory_type, std::size_t element_bytes, Dims const& dims,
               Range rows, void const* values);
    void attribute(std::string const& object, std::string const& name, hid_t type, void const* value);

    Path path_;
    Path temporary_;
    std::string format_;
    Subject subject_;
    Communicator* writers_;
    PosixFile raw_;  // the same file, for space, digest and sync
    Handle file_;
    bool open_ = false;  // HDF5 has it, on all writers
    bool renamed_ = false;
};

// Content plus what HDF5 adds for `datasets` datasets.
std::int64_t expected_file_bytes(std::int64_t content_bytes, std::int64_t datasets);

}  // namespace selvage::io
