// SPDX-License-Identifier: Apache-2.0
#include "io/file_reader.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "io/hdf5_types.h"
#include "io/posix_file.h"

namespace selvage::io {
namespace {

// Attributes that root_attributes() of the writer gives every file.
constexpr std::array<std::string_view, 6> common = {"format",     "format_version", "selvage_version",
                                                    "git_commit", "created",        "deck"};
// Deflate, the usual filter of other programs, shrinks at most to 1/1032.
constexpr std::int64_t largest_compression = 1032;
// Some MPI-IO and VFD layers fail at 2 GiB a call.
constexpr std::int64_t largest_read = std::int64_t{1} << 30;

std::string shape_text(std::vector<std::int64_t> const& dims) { return fmt::format("[{}]", fmt::join(dims, ", ")); }

std::string type_text(hid_t type) {
    std::size_t const bits = H5Tget_size(type) * 8;
    switch (H5Tget_class(type)) {
        case H5T_INTEGER:
            return fmt::format("{}int{}", H5Tget_sign(type) == H5T_SGN_NONE ? "u" : "", bits);
        case H5T_FLOAT:
            return fmt::format("float{}", bits);
        case H5T_STRING:
            return H5Tis_variable_str(type) > 0 ? "variable-length text" : "fixed-length text";
        default:
            return "another type";
    }
}

bool is_element(hid_t type, Element element) {
    H5T_class_t const kind = H5Tget_class(type);
    if (element == Element::text) return kind == H5T_STRING && H5Tis_variable_str(type) == 0;
    if (H5Tget_size(type) != size_of(element)) return false;
    switch (element) {
        case Element::u8:
            return kind == H5T_INTEGER && H5Tget_sign(type) == H5T_SGN_NONE;
        case Element::i32:
        case Element::i64:
            return kind == H5T_INTEGER && H5Tget_sign(type) == H5T_SGN_2;
        default:
            return kind == H5T_FLOAT;
    }
}

herr_t collect_name(hid_t, char const* name, H5L_info_t const*, void* into) {
    static_cast<std::vector<std::string>*>(into)->emplace_back(name);
    return 0;
}

herr_t collect_attribute(hid_t, char const* name, H5A_info_t const*, void* into) {
    static_cast<std::vector<std::string>*>(into)->emplace_back(name);
    return 0;
}

}  // namespace

FileReader::FileReader(Path path)
    : path_(std::move(path)), subject_{path_}, checksums_(verify_checksums(path_, nullptr)) {
    open();
}

FileReader::FileReader(Path path, Checksums checksums)
    : path_(std::move(path)), subject_{path_}, checksums_(checksums) {
    open();
}

void FileReader::open() {
    quiet_hdf5();
    bytes_ = PosixFile(path_, O_RDONLY).size();
    std::string const object = "the file itself";
    Handle const access(SELVAGE_HDF5(subject_, object, H5Pcreate, H5P_FILE_ACCESS), H5Pclose);
    SELVAGE_HDF5(subject_, object, H5Pset_fclose_degree, access, H5F_CLOSE_STRONG);
    SELVAGE_HDF5(subject_, object, H5Pset_file_locking, access, false, true);
    file_ = Handle(SELVAGE_HDF5(subject_, object, H5Fopen, path_.c_str(), H5F_ACC_RDONLY, access), H5Fclose);
    auto const format = text_attribute("/", "format");
    auto const number = integer_attribute("/", "format_version");
    if (!format || columns_of(*format).empty())
        fail_at("/", format ? "of the unknown format '" + *format + "'" : "without the attribute format");
    format_ = *format;
    if (!number) fail_at("/", "without the attribute format_version");
    if (*number != format_version)
        fail_at("/", fmt::format("of format version {}, this program reads {}", *number, format_version));
    if (!has_checksums() && format_ != "selvage-data")
        fail_at("/", format_ + " without checksums, which only data files may be; the file was changed");
}

void FileReader::fail_at(std::string_view dataset, std::string const& what) const {
    fail(ExitCode::bad_data, "{}: {} is {}; the file is damaged or was not written for Selvage", path_.string(),
         dataset, what);
}

void FileReader::expect(std::string_view format) const {
    if (format_ != format)
        fail(ExitCode::bad_data, "{} is a {} file where a {} file is needed; name another file", path_.string(),
             format_, format);
}

Attributes FileReader::attributes() const {
    std::vector<std::string> names;
    hsize_t position = 0;
    SELVAGE_HDF5(subject_, "/", H5Aiterate_by_name, file_, "/", H5_INDEX_NAME, H5_ITER_INC, &position,
                 collect_attribute, &names, H5P_DEFAULT);
    Attributes out;
    for (std::string const& name : names) {
        if (std::find(common.begin(), common.end(), name) != common.end()) continue;
        Handle const attribute(
            SELVAGE_HDF5(subject_, name, H5Aopen_by_name, file_, "/", name.c_str(), H5P_DEFAULT, H5P_DEFAULT),
            H5Aclose);
        Handle const type(SELVAGE_HDF5(subject_, name, H5Aget_type, attribute), H5Tclose);
        Handle const space(SELVAGE_HDF5(subject_, name, H5Aget_space, attribute), H5Sclose);
        if (H5Sget_simple_extent_npoints(space) != 1) continue;
        if (H5Tget_class(type) == H5T_STRING) {
            out.text[name] = text_attribute("/", name).value_or("");
        } else if (H5Tget_class(type) == H5T_INTEGER) {
            out.integers[name] = integer_attribute("/", name).value_or(0);
        } else if (H5Tget_class(type) == H5T_FLOAT) {
            SELVAGE_HDF5(subject_, name, H5Aread, attribute, H5T_NATIVE_DOUBLE, &out.numbers[name]);
        }
    }
    return out;
}

std::optional<std::string> FileReader::text_attribute(std::string const& object, std::string const& name) const {
    std::string const what = object + " attribute " + name;
    if (SELVAGE_HDF5(subject_, what, H5Aexists_by_name, file_, object.c_str(), name.c_str(), H5P_DEFAULT) == 0)
        return std::nullopt;
    Handle const attribute(
        SELVAGE_HDF5(subject_, what, H5Aopen_by_name, file_, object.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT),
        H5Aclose);
    Handle const type(SELVAGE_HDF5(subject_, what, H5Aget_type, attribute), H5Tclose);
    Handle const space(SELVAGE_HDF5(subject_, what, H5Aget_space, attribute), H5Sclose);
    if (H5Tget_class(type) != H5T_STRING || H5Sget_simple_extent_npoints(space) != 1) fail_at(what, "not one text");
    if (H5Tis_variable_str(type) > 0) {
        char* characters = nullptr;
        Handle const memory = text_type(H5T_VARIABLE);
        // HDF5 converts between character sets only where they are equal.
        SELVAGE_HDF5(subject_, what, H5Tset_cset, memory, H5Tget_cset(type));
        SELVAGE_HDF5(subject_, what, H5Aread, attribute, memory, &characters);
        std::string text = characters != nullptr ? characters : "";
        H5free_memory(characters);
        return text;
    }
    std::size_t const length = H5Tget_size(type);
    if (static_cast<std::int64_t>(length) > bytes_) fail_at(what, "longer than the file");
    std::string text(length, '\0');
    SELVAGE_HDF5(subject_, what, H5Aread, attribute, type, text.data());
    return text.substr(0, text.find('\0'));
}

std::optional<std::int64_t> FileReader::integer_attribute(std::string const& object, std::string const& name) const {
    std::string const what = object + " attribute " + name;
    if (SELVAGE_HDF5(subject_, what, H5Aexists_by_name, file_, object.c_str(), name.c_str(), H5P_DEFAULT) == 0)
        return std::nullopt;
    Handle const attribute(
        SELVAGE_HDF5(subject_, what, H5Aopen_by_name, file_, object.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT),
        H5Aclose);
    Handle const type(SELVAGE_HDF5(subject_, what, H5Aget_type, attribute), H5Tclose);
    Handle const space(SELVAGE_HDF5(subject_, what, H5Aget_space, attribute), H5Sclose);
    if (H5Tget_class(type) != H5T_INTEGER || H5Sget_simple_extent_npoints(space) != 1) fail_at(what, "not one integer");
    std::int64_t value = 0;
    SELVAGE_HDF5(subject_, what, H5Aread, attribute, H5T_NATIVE_INT64, &value);
    return value;
}

bool FileReader::exists(std::string const& name) const {
    // H5Lexists wants every group above to be there.
    for (std::size_t at = name.find('/', 1); at != std::string::npos; at = name.find('/', at + 1))
        if (H5Lexists(file_, name.substr(0, at).c_str(), H5P_DEFAULT) <= 0) return false;
    return H5Lexists(file_, name.c_str(), H5P_DEFAULT) > 0;
}

bool FileReader::is_group(std::string const& name) const {
    if (!exists(name)) return false;
    Handle const object(SELVAGE_HDF5(subject_, name, H5Oopen, file_, name.c_str(), H5P_DEFAULT), H5Oclose);
    return H5Iget_type(object) == H5I_GROUP;
}

std::vector<std::string> FileReader::names_in(std::string const& group) const {
    std::vector<std::string> names;
    if (group != "/" && !is_group(group)) return names;
    hsize_t position = 0;
    SELVAGE_HDF5(subject_, group, H5Literate_by_name, file_, group.c_str(), H5_INDEX_NAME, H5_ITER_INC, &position,
                 collect_name, &names, H5P_DEFAULT);
    return names;
}

Handle FileReader::open_dataset(std::string const& name) const {
    if (!exists(name)) fail_at(name, "not there");
    Handle dataset(SELVAGE_HDF5(subject_, name, H5Dopen2, file_, name.c_str(), H5P_DEFAULT), H5Dclose);
    return dataset;
}

std::vector<std::int64_t> FileReader::checked_dims(std::string const& name, hid_t dataset,
                                                   std::size_t element_bytes) const {
    Handle const space(SELVAGE_HDF5(subject_, name, H5Dget_space, dataset), H5Sclose);
    int const rank = SELVAGE_HDF5(subject_, name, H5Sget_simple_extent_ndims, space);
    std::vector<hsize_t> sizes(static_cast<std::size_t>(rank));
    if (rank > 0) SELVAGE_HDF5(subject_, name, H5Sget_simple_extent_dims, space, sizes.data(), nullptr);

    Handle const creation(SELVAGE_HDF5(subject_, name, H5Dget_create_plist, dataset), H5Pclose);
    bool compressed = false;
    for (int i = 0, filters = H5Pget_nfilters(creation); i < filters; ++i) {
        unsigned flags = 0;
        std::size_t values = 0;
        H5Z_filter_t const filter =
            H5Pget_filter2(creation, static_cast<unsigned>(i), &flags, &values, nullptr, 0, nullptr, nullptr);
        compressed = compressed || (filter != H5Z_FILTER_FLETCHER32 && filter != H5Z_FILTER_SHUFFLE);
    }
    std::int64_t const room = compressed ? bytes_ * largest_compression : bytes_;
    std::int64_t largest = room / static_cast<std::int64_t>(std::max<std::size_t>(element_bytes, 1));
    std::vector<std::int64_t> dims;
    bool const empty = std::find(sizes.begin(), sizes.end(), hsize_t{0}) != sizes.end();
    for (hsize_t const size : sizes) {
        if (size > static_cast<hsize_t>(std::max<std::int64_t>(largest, 0)) && !(empty && size < (1ULL << 62)))
            fail_at(name, fmt::format("said to have a dim of {}, more than the file can hold", size));
        dims.push_back(static_cast<std::int64_t>(size));
        if (size > 0 && !empty) largest /= static_cast<std::int64_t>(size);
    }
    return dims;
}

std::vector<std::int64_t> FileReader::dims_of(std::string const& name, Element element, int rank) const {
    Handle const dataset = open_dataset(name);
    Handle const type(SELVAGE_HDF5(subject_, name, H5Dget_type, dataset), H5Tclose);
    if (!is_element(type, element)) fail_at(name, fmt::format("of {}, not {}", type_text(type), name_of(element)));
    auto dims = checked_dims(name, dataset, H5Tget_size(type));
    if (rank >= 0 && static_cast<int>(dims.size()) != rank)
        fail_at(name, fmt::format("of rank {} (shape {}), not {}", dims.size(), shape_text(dims), rank));
    return dims;
}

void FileReader::read(std::string const& name, Element element, std::vector<std::int64_t> const& dims, Range rows,
                      void* into) const {
    Handle const dataset = open_dataset(name);
    std::vector<hsize_t> start(dims.size(), 0), count(dims.begin(), dims.end());
    std::int64_t row_bytes = static_cast<std::int64_t>(size_of(element));
    for (std::size_t i = 1; i < dims.size(); ++i) row_bytes *= dims[i];
    std::int64_t const step = std::max<std::int64_t>(1, largest_read / std::max<std::int64_t>(row_bytes, 1));
    auto* out = static_cast<std::byte*>(into);
    for (std::int64_t begin = rows.begin; begin < rows.end && row_bytes > 0; begin += step) {
        std::int64_t const size = std::min(step, rows.end - begin);
        Handle const file_space(SELVAGE_HDF5(subject_, name, H5Dget_space, dataset), H5Sclose);
        if (dims.empty()) {
            SELVAGE_HDF5(subject_, name, H5Dread, dataset, memory_type(element), H5S_ALL, H5S_ALL, H5P_DEFAULT, out);
            return;
        }
        start[0] = static_cast<hsize_t>(begin);
        count[0] = static_cast<hsize_t>(size);
        Handle const memory_space(
            SELVAGE_HDF5(subject_, name, H5Screate_simple, static_cast<int>(count.size()), count.data(), nullptr),
            H5Sclose);
        SELVAGE_HDF5(subject_, name, H5Sselect_hyperslab, file_space, H5S_SELECT_SET, start.data(), nullptr,
                     count.data(), nullptr);
        SELVAGE_HDF5(subject_, name, H5Dread, dataset, memory_type(element), memory_space, file_space, H5P_DEFAULT,
                     out);
        out += size * row_bytes;
    }
}

std::vector<std::string> FileReader::texts(std::string const& name) const {
    std::vector<std::int64_t> const dims = dims_of(name, Element::text, 1);
    Handle const dataset = open_dataset(name);
    Handle const type(SELVAGE_HDF5(subject_, name, H5Dget_type, dataset), H5Tclose);
    std::size_t const length = H5Tget_size(type);
    std::string all(length * static_cast<std::size_t>(dims[0]), '\0');
    if (!all.empty()) SELVAGE_HDF5(subject_, name, H5Dread, dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, all.data());
    std::vector<std::string> out;
    for (std::size_t i = 0; i < static_cast<std::size_t>(dims[0]); ++i) {
        std::string text = all.substr(i * length, length);
        out.push_back(text.substr(0, text.find('\0')));
    }
    return out;
}

std::vector<std::string> FileReader::datasets() const {
    // Hard links may make a file's groups endless, in depth or in number; ours lie three deep.
    constexpr std::ptrdiff_t max_depth = 16;
    constexpr std::size_t max_objects = 100000;
    std::vector<std::string> found;
    std::vector<std::string> groups = {"/"};
    std::size_t objects = 0;
    while (!groups.empty()) {
        std::string const group = groups.back();
        groups.pop_back();
        if (std::count(group.begin(), group.end(), '/') > max_depth) fail_at(group, "too deep");
        std::vector<std::string> inner;
        for (std::string const& name : names_in(group)) {
            if (++objects > max_objects) fail_at(group, "part of too many groups");
            std::string full = fmt::format("{}/{}", group == "/" ? "" : group, name);
            (is_group(full) ? inner : found).push_back(std::move(full));
        }
        groups.insert(groups.end(), inner.rbegin(), inner.rend());
    }
    return found;
}

std::string FileReader::summary_of(std::string const& name) const {
    Handle const dataset = open_dataset(name);
    Handle const type(SELVAGE_HDF5(subject_, name, H5Dget_type, dataset), H5Tclose);
    return fmt::format("{:<18} {}", type_text(type), shape_text(checked_dims(name, dataset, H5Tget_size(type))));
}

}  // namespace selvage::io
