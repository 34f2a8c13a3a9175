// SPDX-License-Identifier: Apache-2.0
#include "io/safetensors.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "io/half.h"
#include "io/posix_file.h"
#include "io/unique_keys.h"

namespace selvage::io {
namespace {

namespace json = boost::json;

static_assert(std::endian::native == std::endian::little, "values are copied as they lie");

constexpr std::int64_t length_bytes = 8;
// The library that defines the format refuses longer ones too.
constexpr std::int64_t longest_header = 100'000'000;
constexpr std::int64_t piece_elements = std::int64_t{1} << 20;  // converted at a time

struct TypeName {
    std::string_view name;
    std::int64_t bytes;
};
constexpr std::array<TypeName, 15> types = {{{"BOOL", 1},
                                             {"U8", 1},
                                             {"I8", 1},
                                             {"F8_E5M2", 1},
                                             {"F8_E4M3", 1},
                                             {"I16", 2},
                                             {"U16", 2},
                                             {"F16", 2},
                                             {"BF16", 2},
                                             {"I32", 4},
                                             {"U32", 4},
                                             {"F32", 4},
                                             {"I64", 8},
                                             {"U64", 8},
                                             {"F64", 8}}};

// "FILE: tensor NAME WHAT".
[[noreturn]] void fail_tensor(std::string const& file, std::string_view name, std::string const& what) {
    fail(ExitCode::bad_data, "{}: tensor {} {}; the file is damaged, or was not written by a safetensors library", file,
         name, what);
}

// A whole number from 0 on, else -1.
std::int64_t count_of(json::value const& value) {
    if (value.is_int64()) return std::max<std::int64_t>(value.get_int64(), -1);
    return -1;  // Boost.JSON takes a number for unsigned only where it does not fit int64
}

json::value const& member(json::object const& object, std::string const& file, std::string_view name,
                          std::string_view key) {
    json::value const* const value = object.if_contains(key);
    if (value == nullptr) fail_tensor(file, name, fmt::format("has no {}", key));
    return *value;
}

StoredTensor parse_tensor(std::string_view name, json::value const& value, std::string const& file) {
    if (!value.is_object()) fail_tensor(file, name, "is not described by an object");
    json::object const& object = value.get_object();
    StoredTensor tensor;
    tensor.name = name;
    json::value const& type = member(object, file, name, "dtype");
    if (!type.is_string()) fail_tensor(file, name, "has a dtype that is no string");
    tensor.type = json::value_to<std::string>(type);
    auto const known = std::find_if(types.begin(), types.end(), [&](TypeName t) { return t.name == tensor.type; });
    if (known == types.end()) fail_tensor(file, name, fmt::format("has the unknown dtype {}", tensor.type));
    json::value const& shape = member(object, file, name, "shape");
    if (!shape.is_array()) fail_tensor(file, name, "has a shape that is no array");
    std::int64_t bytes = known->bytes;
    for (json::value const& entry : shape.get_array()) {
        std::int64_t const dim = count_of(entry);
        if (dim < 0) fail_tensor(file, name, "has a shape with something else than sizes in it");
        if (dim > 0 && bytes > std::numeric_limits<std::int64_t>::max() / dim)
            fail_tensor(file, name, "has a shape of more bytes than a file can have");
        bytes *= dim;
        tensor.dims.push_back(dim);
    }
    json::value const& offsets = member(object, file, name, "data_offsets");
    bool const is_pair = offsets.is_array() && offsets.get_array().size() == 2;
    tensor.begin = is_pair ? count_of(offsets.get_array()[0]) : -1;
    tensor.end = is_pair ? count_of(offsets.get_array()[1]) : -1;
    if (tensor.begin < 0 || tensor.end < tensor.begin)
        fail_tensor(file, name, "has data_offsets that are not a begin and an end");
    if (tensor.end - tensor.begin != bytes)
        fail_tensor(file, name,
                    fmt::format("has {} bytes at its data_offsets, where {} of shape {} takes {}",
                                tensor.end - tensor.begin, tensor.type, tensor.shape_text(), bytes));
    return tensor;
}

// Bytes of the values, end to end.
void check_places(std::vector<StoredTensor> const& tensors, std::int64_t bytes, std::string const& file) {
    std::int64_t at = 0;
    for (StoredTensor const& tensor : tensors) {
        if (tensor.begin != at)
            fail_tensor(file, tensor.name,
                        fmt::format("begins at byte {} of the values, {} the end of the one before, {}", tensor.begin,
                                    tensor.begin < at ? "inside, before" : "behind", at));
        at = tensor.end;
        if (at > bytes)
            fail(ExitCode::bad_data,
                 "{}: tensor {} ends at byte {} of the values, of which there are {}; the file is cut off or damaged",
                 file, tensor.name, at, bytes);
    }
    if (at != bytes)
        fail(ExitCode::bad_data, "{}: {} bytes behind the last tensor; the file is damaged", file, bytes - at);
}

std::vector<std::byte> read_part(PosixFile const& file, std::int64_t begin, std::int64_t bytes) {
    std::vector<std::byte> out(static_cast<std::size_t>(bytes));
    file.read(out, begin);
    return out;
}

template <class Convert>
void read_halves(PosixFile const& file, std::int64_t begin, std::int64_t count, float* into, Convert const& convert) {
    std::vector<std::uint16_t> bits(static_cast<std::size_t>(std::min(count, piece_elements)));
    for (std::int64_t i = 0; i < count; i += piece_elements) {
        std::int64_t const here = std::min(piece_elements, count - i);
        file.read(std::as_writable_bytes(std::span(bits)).first(static_cast<std::size_t>(2 * here)), begin + 2 * i);
        for (std::int64_t j = 0; j < here; ++j) into[i + j] = convert(bits[static_cast<std::size_t>(j)]);
    }
}

}  // namespace

std::string_view name_of(StoredType type) {
    return type == StoredType::f32 ? "F32" : type == StoredType::f16 ? "F16" : "BF16";
}

std::size_t size_of(StoredType type) { return type == StoredType::f32 ? 4 : 2; }

StoredType stored_type_named(std::string_view name, std::string_view where) {
    for (StoredType const type : {StoredType::f32, StoredType::f16, StoredType::bf16})
        if (name == name_of(type)) return type;
    fail(ExitCode::bad_data, "{} {}, which this version does not read; F32, F16 and BF16 are what weights may be",
         where, name);
}

std::int64_t StoredTensor::elements() const {
    std::int64_t product = 1;
    for (std::int64_t const dim : dims) product *= dim;
    return product;
}

std::string StoredTensor::shape_text() const {
    std::string text = "[";
    for (std::size_t i = 0; i < dims.size(); ++i) text += fmt::format("{}{}", i > 0 ? ", " : "", dims[i]);
    return text + "]";
}

std::vector<StoredTensor> parse_safetensors_header(std::string_view header, std::int64_t file_bytes,
                                                   std::string const& file) {
    boost::system::error_code error;
    json::value const parsed = json::parse(header, error);
    if (error || !parsed.is_object())
        fail(ExitCode::bad_data, "{}: its header is no JSON object ({}); the file is damaged or of another kind", file,
             error ? error.message() : "something else");
    if (auto const name = repeated_key(header))
        fail(ExitCode::bad_data, "{}: {} stands twice in one object of its header; the file is damaged", file, *name);
    std::vector<StoredTensor> tensors;
    for (auto const& entry : parsed.get_object())
        if (std::string_view const name(entry.key().data(), entry.key().size()); name != "__metadata__")
            tensors.push_back(parse_tensor(name, entry.value(), file));
    std::stable_sort(tensors.begin(), tensors.end(), [](StoredTensor const& a, StoredTensor const& b) {
        return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
    });
    std::int64_t const values = length_bytes + static_cast<std::int64_t>(header.size());
    check_places(tensors, file_bytes - values, file);
    for (StoredTensor& tensor : tensors) {
        tensor.begin += values;
        tensor.end += values;
    }
    return tensors;
}

struct SafetensorsFile::Raw {
    PosixFile file;
};

SafetensorsFile::SafetensorsFile(Path path) : raw_(std::make_unique<Raw>(Raw{PosixFile(std::move(path), O_RDONLY)})) {
    PosixFile const& file = raw_->file;
    std::string const name = file.path().string();
    std::int64_t const bytes = file.size();
    if (bytes < length_bytes + 2)
        fail(ExitCode::bad_data, "{} has {} bytes, too few for a safetensors file; it is damaged", name, bytes);
    std::uint64_t length = 0;
    file.read(std::as_writable_bytes(std::span(&length, 1)), 0);
    if (length > static_cast<std::uint64_t>(std::min(longest_header, bytes - length_bytes)))
        fail(ExitCode::bad_data,
             "{}: its first 8 bytes ask for a header of {} bytes, in a file of {}; it is damaged, or no safetensors "
             "file",
             name, length, bytes);
    auto const header = read_part(file, length_bytes, static_cast<std::int64_t>(length));
    tensors_ = parse_safetensors_header({reinterpret_cast<char const*>(header.data()), header.size()}, bytes, name);
}

SafetensorsFile::~SafetensorsFile() = default;
SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;

Path const& SafetensorsFile::path() const { return raw_->file.path(); }

void SafetensorsFile::read(StoredTensor const& tensor, Range elements, float* into) const {
    SELVAGE_CHECK(elements.begin >= 0 && elements.end <= tensor.elements(), "elements {} to {} of {}", elements.begin,
                  elements.end, tensor.name);
    StoredType const type =
        stored_type_named(tensor.type, fmt::format("{}: tensor {} is of dtype", path().string(), tensor.name));
    std::int64_t const begin = tensor.begin + elements.begin * static_cast<std::int64_t>(size_of(type));
    auto const count = static_cast<std::size_t>(elements.size());
    if (type == StoredType::f32)
        raw_->file.read(std::as_writable_bytes(std::span(into, count)), begin);
    else if (type == StoredType::bf16)
        read_halves(raw_->file, begin, elements.size(), into, from_bf16);
    else
        read_halves(raw_->file, begin, elements.size(), into, from_f16);
}

}  // namespace selvage::io
