// SPDX-License-Identifier: Apache-2.0
#pragma once
// Private to io: an HDF5 file to read, trusted in nothing: checksums first, then every type, rank and size before use.
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/files.h"
#include "io/hdf5_handle.h"
#include "io/schema.h"
#include "io/user_block.h"
#include "tensor/layout.h"

namespace selvage::io {

class FileReader {
  public:
    // Verifies the checksums and opens. Errors as in files.h.
    explicit FileReader(Path path);
    // For a file that the caller has verified.
    FileReader(Path path, Checksums checksums);

    Path const& path() const { return path_; }
    std::string const& format() const { return format_; }
    bool has_checksums() const { return checksums_ == Checksums::verified; }
    // Error(bad_data) where the file is of another format.
    void expect(std::string_view format) const;

    // The deck in the root attributes ("" where none), and what is there beside the common ones.
    std::string deck() const { return text_attribute("/", "deck").value_or(""); }
    Attributes attributes() const;
    std::optional<std::string> text_attribute(std::string const& object, std::string const& name) const;
    std::optional<std::int64_t> integer_attribute(std::string const& object, std::string const& name) const;

    bool exists(std::string const& name) const;
    // Names in a group, by name; none where the group is not there.
    std::vector<std::string> names_in(std::string const& group) const;
    bool is_group(std::string const& name) const;

    // Checks type and rank, and that the file is large enough for what the dataset says it holds.
    std::vector<std::int64_t> dims_of(std::string const& name, Element element, int rank) const;
    // A whole dataset.
    template <class T>
    std::vector<T> values(std::string const& name, int rank = 1) const {
        std::vector<std::int64_t> const dims = dims_of(name, ElementOf<T>::value, rank);
        std::int64_t count = 1;
        for (std::int64_t const dim : dims) count *= dim;
        std::vector<T> out(static_cast<std::size_t>(count));
        if (count > 0) read(name, ElementOf<T>::value, dims, {0, rank == 0 ? 1 : dims[0]}, out.data());
        return out;
    }
    std::vector<std::string> texts(std::string const& name) const;
    std::int64_t scalar(std::string const& name) const { return values<std::int64_t>(name, 0)[0]; }
    // Rows of the first dim of a dataset with these dims (as dims_of gave them); a scalar has one row.
    void read(std::string const& name, Element element, std::vector<std::int64_t> const& dims, Range rows,
              void* into) const;

    // "FILE: DATASET is WHAT": Error(bad_data).
    [[noreturn]] void fail_at(std::string_view dataset, std::string const& what) const;

    // All of them, a group's own before those of its groups.
    std::vector<std::string> datasets() const;
    // Type and shape of a dataset, for people.
    std::string summary_of(std::string const& name) const;

  private:
    void open();
    Handle open_dataset(std::string const& name) const;
    std::vector<std::int64_t> checked_dims(std::string const& name, hid_t dataset, std::size_t element_bytes) const;

    Path path_;
    Subject subject_;
    Checksums checksums_;
    Handle file_;
    std::string format_;
    std::int64_t bytes_ = 0;
};

}  // namespace selvage::io
