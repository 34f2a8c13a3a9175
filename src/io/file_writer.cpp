// SPDX-License-Identifier: Apache-2.0
#include "io/file_writer.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "base/build_info.h"
#include "base/log.h"
#include "base/timer.h"
#include "io/hdf5_types.h"
#include "io/user_block.h"

namespace selvage::io {
namespace {

constexpr std::int64_t chunk_bytes = std::int64_t{1} << 20;
// MPI-IO counts are ints, and some implementations fail at 2 GiB a call.
constexpr std::int64_t largest_write = std::int64_t{1} << 30;

std::vector<hsize_t> sizes_of(Dims const& dims) { return {dims.begin(), dims.end()}; }

std::int64_t elements_of(Dims const& dims) {
    std::int64_t product = 1;
    for (std::int64_t const dim : dims) product *= dim;
    return product;
}

}  // namespace

Dims chunk_shape(Dims const& dims, std::size_t element_bytes) {
    Dims chunk(dims.size(), 1);
    auto room = std::max<std::int64_t>(1, chunk_bytes / static_cast<std::int64_t>(element_bytes));
    for (std::size_t i = dims.size(); i-- > 0;) {
        // Equal pieces: the last chunk is stored as large as the others.
        std::int64_t const pieces = std::max<std::int64_t>(1, (dims[i] + room - 1) / room);
        chunk[i] = std::max<std::int64_t>(1, (dims[i] + pieces - 1) / pieces);
        room = std::max<std::int64_t>(1, room / chunk[i]);
    }
    return chunk;
}

std::int64_t expected_file_bytes(std::int64_t content_bytes, std::int64_t datasets) {
    // Chunk indices and checksums take below 1/1000; object headers and attributes about 1.5 KB a dataset.
    return user_block_bytes + content_bytes + content_bytes / 512 + datasets * 2048 + 16384;
}

// With several writers a failure of one is thrown on all.
template <class Action>
void FileWriter::together(Action&& action) {
    if (writers_ != nullptr)
        agree(*writers_, action);
    else
        action();
}

FileWriter::FileWriter(Path path, std::string_view format, Options const& options)
    : path_(std::move(path)),
      temporary_(path_.string() + ".partial"),
      format_(format),
      subject_{path_, ExitCode::io},
      writers_(options.writers) {
    quiet_hdf5();
    try {
        together([&] {
            if (!is_first()) return;
            std::error_code error;
            Path const folder = path_.parent_path();
            if (!folder.empty()) std::filesystem::create_directories(folder, error);
            if (error) fail_errno("make the folder", folder, error.value());
            raw_ = PosixFile(temporary_, O_RDWR | O_CREAT | O_TRUNC);
            // Takes and gives back the space, then takes it for good: HDF5 empties the file when it makes it.
            reserve(options.expected_bytes, 0);
            raw_.truncate(0);
        });
        open_hdf5();
        together([&] {
            if (is_first())
                reserve(options.expected_bytes, FALLOC_FL_KEEP_SIZE);
            else
                raw_ = PosixFile(temporary_, O_RDWR);
        });
    } catch (...) {
        discard();
        throw;
    }
}

FileWriter::~FileWriter() {
    if (!renamed_) discard();
}

void FileWriter::reserve(std::int64_t expected_bytes, int mode) {
    if (expected_bytes <= 0) return;
    int status = 0;
    do status = ::fallocate(raw_.descriptor(), mode, 0, expected_bytes);
    while (status != 0 && errno == EINTR);
    if (status == 0) return;
    int const error = errno;
    if (error == ENOSPC || error == EDQUOT || error == EFBIG)
        fail(ExitCode::io,
             "cannot write {} ({}; {} are needed, {} are free); free space on the disk or write elsewhere",
             path_.string(), std::strerror(error), format_bytes(static_cast<double>(expected_bytes)),
             format_bytes(static_cast<double>(free_disk_bytes(path_))));
    // A file system that cannot reserve space: what is free now must do.
    if (std::int64_t const free = free_disk_bytes(path_); free < expected_bytes)
        fail(ExitCode::io, "cannot write {} ({} are needed, {} are free); free space on the disk or write elsewhere",
             path_.string(), format_bytes(static_cast<double>(expected_bytes)),
             format_bytes(static_cast<double>(free)));
}

void FileWriter::open_hdf5() {
    std::string const object = "the file itself";
    Handle const access(SELVAGE_HDF5(subject_, object, H5Pcreate, H5P_FILE_ACCESS), H5Pclose);
    Handle const creation(SELVAGE_HDF5(subject_, object, H5Pcreate, H5P_FILE_CREATE), H5Pclose);
    SELVAGE_HDF5(subject_, object, H5Pset_libver_bounds, access, H5F_LIBVER_V110, H5F_LIBVER_V110);
    SELVAGE_HDF5(subject_, object, H5Pset_fclose_degree, access, H5F_CLOSE_STRONG);
    SELVAGE_HDF5(subject_, object, H5Pset_userblock, creation, static_cast<hsize_t>(user_block_bytes));
    // Time stamps inside the file would make equal runs differ.
    SELVAGE_HDF5(subject_, object, H5Pset_obj_track_times, creation, false);
    void* const mpi = writers_ != nullptr ? writers_->native_handle() : nullptr;
    if (mpi != nullptr)
        SELVAGE_HDF5(subject_, object, H5Pset_fapl_mpio, access, *static_cast<MPI_Comm*>(mpi), MPI_INFO_NULL);
    else
        SELVAGE_HDF5(subject_, object, H5Pset_file_locking, access, false, true);
    open_ = true;
    together([&] {
        file_ = Handle(SELVAGE_HDF5(subject_, object, H5Fcreate, temporary_.c_str(), H5F_ACC_TRUNC, creation, access),
                       H5Fclose);
    });
}

// After a failure. Emptying the file first gives HDF5 room for what it still wants to write on a full disk: a close
// that fails leaves the library in a state that crashes the process at its end.
void FileWriter::discard() {
    try {
        if (is_first() && raw_.descriptor() >= 0) raw_.truncate(0);
        if (open_ && writers_ != nullptr) writers_->barrier();
    } catch (std::exception const& error) {
        log::debug("while giving up {}: {}", temporary_.string(), error.what());
    }
    file_.reset();
    H5Eclear2(H5E_DEFAULT);
    raw_.close();
    std::error_code ignored;
    if (is_first()) std::filesystem::remove(temporary_, ignored);
}

void FileWriter::root_attributes(std::string const& deck, Attributes const& attributes) {
    text_attribute("/", "format", format_);
    integer_attribute("/", "format_version", format_version);
    text_attribute("/", "selvage_version", version());
    text_attribute("/", "git_commit", git_commit());
    text_attribute("/", "created", writers_ != nullptr ? broadcast_text(*writers_, utc_now(), 0) : utc_now());
    if (!deck.empty()) text_attribute("/", "deck", deck);
    for (auto const& [name, value] : attributes.text) text_attribute("/", name, value);
    for (auto const& [name, value] : attributes.integers) integer_attribute("/", name, value);
    for (auto const& [name, value] : attributes.numbers) number_attribute("/", name, value);
}

void FileWriter::group(std::string const& name) {
    Handle const creation(SELVAGE_HDF5(subject_, name, H5Pcreate, H5P_GROUP_CREATE), H5Pclose);
    SELVAGE_HDF5(subject_, name, H5Pset_obj_track_times, creation, false);
    Handle const made(SELVAGE_HDF5(subject_, name, H5Gcreate2, file_, name.c_str(), H5P_DEFAULT, creation, H5P_DEFAULT),
                      H5Gclose);
}

void FileWriter::attribute(std::string const& object, std::string const& name, hid_t type, void const* value) {
    std::string const what = object + " attribute " + name;
    Handle const space(SELVAGE_HDF5(subject_, what, H5Screate, H5S_SCALAR), H5Sclose);
    Handle const made(SELVAGE_HDF5(subject_, what, H5Acreate_by_name, file_, object.c_str(), name.c_str(), type, space,
                                   H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                      H5Aclose);
    SELVAGE_HDF5(subject_, what, H5Awrite, made, type, value);
}

void FileWriter::text_attribute(std::string const& object, std::string const& name, std::string const& value) {
    Handle const type = text_type(H5T_VARIABLE);
    char const* const characters = value.c_str();
    attribute(object, name, type, &characters);
}

void FileWriter::integer_attribute(std::string const& object, std::string const& name, std::int64_t value) {
    attribute(object, name, H5T_STD_I64LE, &value);
}

void FileWriter::int32_attribute(std::string const& object, std::string const& name, std::int32_t value) {
    attribute(object, name, H5T_STD_I32LE, &value);
}

void FileWriter::number_attribute(std::string const& object, std::string const& name, double value) {
    attribute(object, name, H5T_IEEE_F64LE, &value);
}

Handle FileWriter::create(std::string const& name, hid_t type, std::size_t element_bytes, Notes const& notes,
                          Dims const& dims) {
    auto const sizes = sizes_of(dims);
    Handle const space(dims.empty() ? SELVAGE_HDF5(subject_, name, H5Screate, H5S_SCALAR)
                                    : SELVAGE_HDF5(subject_, name, H5Screate_simple, static_cast<int>(dims.size()),
                                                   sizes.data(), nullptr),
                       H5Sclose);
    Handle const creation(SELVAGE_HDF5(subject_, name, H5Pcreate, H5P_DATASET_CREATE), H5Pclose);
    SELVAGE_HDF5(subject_, name, H5Pset_obj_track_times, creation, false);
    SELVAGE_HDF5(subject_, name, H5Pset_fill_time, creation, H5D_FILL_TIME_NEVER);
    if (dims.empty()) {
        // A scalar lies in its object header, which has a checksum of its own.
        SELVAGE_HDF5(subject_, name, H5Pset_layout, creation, H5D_COMPACT);
    } else if (elements_of(dims) > 0) {
        auto const chunk = sizes_of(chunk_shape(dims, element_bytes));
        SELVAGE_HDF5(subject_, name, H5Pset_chunk, creation, static_cast<int>(chunk.size()), chunk.data());
        SELVAGE_HDF5(subject_, name, H5Pset_fletcher32, creation);
    }
    Handle dataset(
        SELVAGE_HDF5(subject_, name, H5Dcreate2, file_, name.c_str(), type, space, H5P_DEFAULT, creation, H5P_DEFAULT),
        H5Dclose);
    text_attribute(name, "description", notes.description);
    text_attribute(name, "units", notes.units);
    if (notes.is_volatile) integer_attribute(name, "volatile", 1);
    return dataset;
}

void FileWriter::write(hid_t dataset, std::string const& name, hid_t memory_type, std::size_t element_bytes,
                       Dims const& dims, Range rows, void const* values) {
    if (elements_of(dims) == 0) return;
    Handle const transfer(SELVAGE_HDF5(subject_, name, H5Pcreate, H5P_DATASET_XFER), H5Pclose);
    if (writers_ != nullptr && writers_->native_handle() != nullptr)
        SELVAGE_HDF5(subject_, name, H5Pset_dxpl_mpio, transfer, H5FD_MPIO_COLLECTIVE);
    Handle const file_space(SELVAGE_HDF5(subject_, name, H5Dget_space, dataset), H5Sclose);
    auto count = sizes_of(dims);
    if (!count.empty()) count[0] = static_cast<hsize_t>(rows.size());
    SELVAGE_CHECK(
        rows.size() * (elements_of(dims) / (dims.empty() ? 1 : dims[0])) * static_cast<std::int64_t>(element_bytes) <=
            largest_write,
        "{} rows of {} in one write", rows.size(), name);
    Handle const memory_space(dims.empty() ? SELVAGE_HDF5(subject_, name, H5Screate, H5S_SCALAR)
                                           : SELVAGE_HDF5(subject_, name, H5Screate_simple,
                                                          static_cast<int>(count.size()), count.data(), nullptr),
                              H5Sclose);
    if (rows.size() == 0) {
        SELVAGE_HDF5(subject_, name, H5Sselect_none, file_space);
        SELVAGE_HDF5(subject_, name, H5Sselect_none, memory_space);
    } else if (!dims.empty()) {
        std::vector<hsize_t> start(dims.size(), 0);
        start[0] = static_cast<hsize_t>(rows.begin);
        SELVAGE_HDF5(subject_, name, H5Sselect_hyperslab, file_space, H5S_SELECT_SET, start.data(), nullptr,
                     count.data(), nullptr);
    }
    SELVAGE_HDF5(subject_, name, H5Dwrite, dataset, memory_type, memory_space, file_space, transfer, values);
}

void FileWriter::array(std::string const& name, Element element, Notes const& notes, Dims const& dims,
                       void const* values) {
    std::size_t const bytes = size_of(element);
    Handle const dataset = create(name, file_type(element), bytes, notes, dims);
    std::int64_t const rows = dims.empty() ? 1 : dims[0];
    if (elements_of(dims) == 0) return;
    std::int64_t const row_bytes = elements_of(dims) / rows * static_cast<std::int64_t>(bytes);
    std::int64_t const step = std::max<std::int64_t>(1, largest_write / row_bytes);
    for (std::int64_t begin = 0; begin < rows; begin += step) {
        // A scalar is metadata, which must be equal on all writers: any of them may be the one that writes it out.
        Range const piece = is_first() || dims.empty() ? Range{begin, std::min(rows, begin + step)} : Range{};
        write(dataset, name, memory_type(element), bytes, dims, piece,
              static_cast<std::byte const*>(values) + piece.begin * row_bytes);
    }
}

void FileWriter::text_column(std::string const& name, std::vector<std::string> const& values) {
    std::size_t longest = 1;
    for (std::string const& value : values) longest = std::max(longest, value.size());
    std::string all(longest * values.size(), '\0');
    for (std::size_t i = 0; i < values.size(); ++i) values[i].copy(all.data() + i * longest, values[i].size());
    Handle const type = text_type(longest);
    Dims const dims = {static_cast<std::int64_t>(values.size())};
    Handle const dataset = create(name, type, longest, column_of(format_, name).notes, dims);
    write(dataset, name, type, longest, dims, is_first() ? Range{0, dims[0]} : Range{}, all.data());
}

Handle FileWriter::create_floats(std::string const& name, Notes const& notes, Dims const& dims) {
    return create(name, file_type(Element::f32), size_of(Element::f32), notes, dims);
}

void FileWriter::write_rows(Handle const& dataset, std::string const& name, Dims const& dims, Range rows,
                            float const* values) {
    write(dataset, name, memory_type(Element::f32), size_of(Element::f32), dims, rows, values);
}

void FileWriter::hard_link(std::string const& existing, std::string const& name) {
    SELVAGE_HDF5(subject_, name, H5Lcreate_hard, file_, existing.c_str(), file_, name.c_str(), H5P_DEFAULT,
                 H5P_DEFAULT);
}

void FileWriter::close_hdf5() {
    together([&] { SELVAGE_HDF5(subject_, "the file itself", H5Fflush, file_, H5F_SCOPE_GLOBAL); });
    open_ = false;
    together([&] {
        if (H5Fclose(file_.release()) < 0) fail_hdf5("H5Fclose", subject_, "the file itself");
    });
}

std::int64_t FileWriter::commit() {
    close_hdf5();
    std::int64_t bytes = 0;
    together([&] { bytes = raw_.size(); });
    Digest const digest = digest_of_blocks(raw_, bytes, writers_);
    together([&] {
        if (is_first()) {
            std::string const block = make_user_block({format_, bytes, digest});
            raw_.write(std::as_bytes(std::span(block)), 0);
            raw_.truncate(bytes);  // gives back reserved space behind the end
        }
        raw_.sync();
    });
    together([&] {
        if (!is_first()) return;
        if (std::rename(temporary_.c_str(), path_.c_str()) != 0) fail_errno("rename to", path_, errno);
        renamed_ = true;
        sync_folder(path_.parent_path());
    });
    renamed_ = true;
    raw_.close();
    return bytes;
}

}  // namespace selvage::io
