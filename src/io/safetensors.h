// SPDX-License-Identifier: Apache-2.0
#pragma once
// Weights of other libraries: files of the format safetensors (huggingface.co/docs/safetensors), alone or several with
// an index. A file is the length of its header (uint64, little-endian), the header (JSON: by name the type, the shape
// and the bytes of each tensor, counted from the header's end) and the values, little-endian, rows one after the other.
// Nothing here is collective, and const calls may be made by several threads.
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/files.h"
#include "tensor/layout.h"

namespace selvage::io {

// Types whose values Selvage reads and writes.
enum class StoredType : std::uint8_t { f32, f16, bf16 };
std::string_view name_of(StoredType type);  // "F32", "F16", "BF16", as headers have it
std::size_t size_of(StoredType type);
// Error (bad_data) beginning with `where` for a name that is not one of the three.
StoredType stored_type_named(std::string_view name, std::string_view where);

struct StoredTensor {
    std::string name;
    std::string type;  // as the header has it: tensors of other types may be there, but not be read
    std::vector<std::int64_t> dims;
    std::int64_t begin = 0;  // byte of the file
    std::int64_t end = 0;
    std::int64_t elements() const;
    std::string shape_text() const;  // "[4, 8]"
};

// Checks the header of a file of `file_bytes` bytes: tensors in the order of their bytes, which must fill the file
// without hole or overlap. `header` begins behind the length. Errors (bad_data) say which tensor is wrong and how.
std::vector<StoredTensor> parse_safetensors_header(std::string_view header, std::int64_t file_bytes,
                                                   std::string const& file);

// One file, to read.
class SafetensorsFile {
  public:
    // Reads the header alone. Errors: missing_input; bad_data (not such a file, damaged).
    explicit SafetensorsFile(Path path);
    ~SafetensorsFile();
    SafetensorsFile(SafetensorsFile&&) noexcept;

    Path const& path() const;
    std::vector<StoredTensor> const& tensors() const { return tensors_; }
    // Elements of a tensor of this file, as they lie in it. Error (bad_data): a type that is not one of the three.
    void read(StoredTensor const& tensor, Range elements, float* into) const;

  private:
    struct Raw;
    std::unique_ptr<Raw> raw_;
    std::vector<StoredTensor> tensors_;
};

// The weights of a folder: model.safetensors, or the files that model.safetensors.index.json names.
class SafetensorsFolder {
  public:
    // Errors: missing_input (no weights, a file of the index is not there), bad_data (damaged; an index that says what
    // is not so; names the file).
    explicit SafetensorsFolder(Path folder);

    std::vector<std::string> const& names() const { return names_; }  // in the order of the files and their bytes
    // nullptr: none of this name.
    StoredTensor const* find(std::string_view name) const;
    // Elements of a tensor that is there.
    void read(std::string_view name, Range elements, float* into) const;
    Path const& file_of(std::string_view name) const;

  private:
    struct Place {
        std::size_t file = 0;
        std::size_t tensor = 0;
    };
    void add(std::size_t file, std::size_t tensor);

    std::vector<SafetensorsFile> files_;
    std::vector<std::string> names_;
    std::map<std::string, Place, std::less<>> places_;
};

// The same to write: one file, or several with an index where the weights take more than `most_bytes` (a tensor is
// never cut). Every rank makes one with equal arguments; one rank calls create(), then all may write, then one
// finish().
class SafetensorsWriter {
  public:
    // `tensors`: name, type (of the three) and dims.
    SafetensorsWriter(Path folder, std::vector<StoredTensor> tensors, std::int64_t most_bytes);

    std::int64_t bytes() const;  // of all files
    // Makes the files with their headers, in their full size. Error (io): no room, no permission.
    void create() const;
    // Elements of a tensor, rounded to its type (to nearest, ties to even). Error (bad_data): a value that is not
    // finite, or too large for the type.
    void write(std::string_view name, Range elements, float const* values) const;
    // Opens again for writing what create() made on another rank.
    void open();
    void sync() const;

  private:
    struct File {
        std::string name;
        std::vector<StoredTensor> tensors;
        std::string head;  // length and header
        std::int64_t bytes = 0;
    };
    struct Raw;
    std::string index() const;

    Path folder_;
    std::vector<File> files_;
    std::map<std::string, std::pair<std::size_t, std::size_t>, std::less<>> places_;
    std::shared_ptr<Raw> raw_;
};

}  // namespace selvage::io
