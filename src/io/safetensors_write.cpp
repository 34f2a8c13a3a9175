// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "io/half.h"
#include "io/posix_file.h"
#include "io/safetensors.h"

namespace selvage::io {
namespace {

namespace json = boost::json;

constexpr std::int64_t piece_elements = std::int64_t{1} << 20;  // converted at a time

std::int64_t bytes_of(StoredTensor const& tensor) {
    return tensor.elements() * static_cast<std::int64_t>(size_of(stored_type_named(tensor.type, tensor.name)));
}

// Places the tensors one behind the other; returns length and header. Wider types first, so that all are aligned.
std::string place(std::vector<StoredTensor>& tensors) {
    std::stable_sort(tensors.begin(), tensors.end(), [](StoredTensor const& a, StoredTensor const& b) {
        return size_of(stored_type_named(a.type, a.name)) > size_of(stored_type_named(b.type, b.name));
    });
    json::object header;
    header["__metadata__"] = {{"format", "pt"}};  // transformers asks for it
    std::int64_t at = 0;
    for (StoredTensor& tensor : tensors) {
        tensor.begin = at;
        tensor.end = at += bytes_of(tensor);
        header[tensor.name] = {{"dtype", tensor.type},
                               {"shape", json::value_from(tensor.dims)},
                               {"data_offsets", {tensor.begin, tensor.end}}};
    }
    std::string text = json::serialize(header);
    text.resize((text.size() + 7) / 8 * 8, ' ');
    std::uint64_t const length = text.size();
    std::string head(sizeof length, '\0');
    std::memcpy(head.data(), &length, sizeof length);
    head += text;
    for (StoredTensor& tensor : tensors) {
        tensor.begin += static_cast<std::int64_t>(head.size());
        tensor.end += static_cast<std::int64_t>(head.size());
    }
    return head;
}

void write_text(Path const& path, std::string_view text) {
    PosixFile const file(path, O_WRONLY | O_CREAT | O_EXCL);
    file.write(std::as_bytes(std::span(text)), 0);
    file.sync();
}

std::uint16_t narrowed(StoredType type, float value) {
    return type == StoredType::bf16 ? to_bf16(value) : to_f16(value);
}

void check_finite(StoredTensor const& tensor, std::int64_t first, float const* values, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i)
        if (!std::isfinite(values[i]))
            fail(ExitCode::bad_data, "{} at {} of tensor {}; the model is damaged", values[i], first + i, tensor.name);
}

// Infinities come from finite values alone.
void check_fits(StoredTensor const& tensor, StoredType type, std::int64_t first, float const* values,
                std::vector<std::uint16_t> const& bits, std::int64_t count) {
    std::uint16_t const infinity = type == StoredType::bf16 ? 0x7f80 : 0x7c00;
    for (std::int64_t i = 0; i < count; ++i)
        if ((bits[static_cast<std::size_t>(i)] & 0x7fff) == infinity)
            fail(ExitCode::bad_data, "{} at {} of tensor {} is too large for {}; export with another --dtype",
                 values[i], first + i, tensor.name, tensor.type);
}

}  // namespace

struct SafetensorsWriter::Raw {
    std::vector<PosixFile> files;
};

SafetensorsWriter::SafetensorsWriter(Path folder, std::vector<StoredTensor> tensors, std::int64_t most_bytes)
    : folder_(std::move(folder)), raw_(std::make_shared<Raw>()) {
    std::vector<std::vector<StoredTensor>> shares(1);
    std::int64_t here = 0;
    for (StoredTensor& tensor : tensors) {
        std::int64_t const bytes = bytes_of(tensor);
        if (here > 0 && here + bytes > most_bytes) {
            shares.emplace_back();
            here = 0;
        }
        here += bytes;
        shares.back().push_back(std::move(tensor));
    }
    for (std::size_t i = 0; i < shares.size(); ++i) {
        File file;
        file.name = shares.size() == 1 ? "model.safetensors"
                                       : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shares.size());
        file.head = place(shares[i]);
        file.tensors = std::move(shares[i]);
        file.bytes = file.tensors.empty() ? static_cast<std::int64_t>(file.head.size()) : file.tensors.back().end;
        for (std::size_t t = 0; t < file.tensors.size(); ++t) places_[file.tensors[t].name] = {i, t};
        files_.push_back(std::move(file));
    }
}

std::int64_t SafetensorsWriter::bytes() const {
    std::int64_t sum = 0;
    for (File const& file : files_) sum += file.bytes;
    return sum;
}

std::string SafetensorsWriter::index() const {
    json::object map;
    std::int64_t total = 0;
    for (File const& file : files_)
        for (StoredTensor const& tensor : file.tensors) {
            map[tensor.name] = file.name;
            total += tensor.end - tensor.begin;
        }
    return json::serialize(json::object{{"metadata", {{"total_size", total}}}, {"weight_map", std::move(map)}}) + "\n";
}

void SafetensorsWriter::create() const {
    for (File const& file : files_) {
        PosixFile const raw(folder_ / file.name, O_RDWR | O_CREAT | O_EXCL);
        int status = 0;
        do status = ::fallocate(raw.descriptor(), 0, 0, file.bytes);
        while (status != 0 && errno == EINTR);
        // A file system that cannot reserve space fills up, if it does, at a write.
        if (status != 0 && errno != EOPNOTSUPP && errno != ENOSYS) fail_errno("write", raw.path(), errno);
        raw.truncate(file.bytes);
        raw.write(std::as_bytes(std::span(file.head)), 0);
    }
    if (files_.size() > 1) write_text(folder_ / "model.safetensors.index.json", index());
}

void SafetensorsWriter::open() {
    for (File const& file : files_) raw_->files.emplace_back(folder_ / file.name, O_RDWR);
}

void SafetensorsWriter::write(std::string_view name, Range elements, float const* values) const {
    auto const found = places_.find(name);
    SELVAGE_CHECK(found != places_.end(), "no tensor {}", name);
    auto const [at, index] = found->second;
    StoredTensor const& tensor = files_[at].tensors[index];
    PosixFile const& file = raw_->files[at];
    StoredType const type = stored_type_named(tensor.type, tensor.name);
    check_finite(tensor, elements.begin, values, elements.size());
    std::int64_t const begin = tensor.begin + elements.begin * static_cast<std::int64_t>(size_of(type));
    if (type == StoredType::f32)
        return file.write(std::as_bytes(std::span(values, static_cast<std::size_t>(elements.size()))), begin);
    std::vector<std::uint16_t> bits(static_cast<std::size_t>(std::min(elements.size(), piece_elements)));
    for (std::int64_t i = 0; i < elements.size(); i += piece_elements) {
        std::int64_t const here = std::min(piece_elements, elements.size() - i);
        for (std::int64_t j = 0; j < here; ++j) bits[static_cast<std::size_t>(j)] = narrowed(type, values[i + j]);
        check_fits(tensor, type, elements.begin + i, values + i, bits, here);
        file.write(std::as_bytes(std::span(bits)).first(static_cast<std::size_t>(2 * here)), begin + 2 * i);
    }
}

void SafetensorsWriter::sync() const {
    for (PosixFile const& file : raw_->files) file.sync();
}

}  // namespace selvage::io
