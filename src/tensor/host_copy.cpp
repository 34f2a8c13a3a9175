// SPDX-License-Identifier: Apache-2.0
#include "tensor/host_copy.h"

#include <cstring>

namespace selvage {
namespace {

std::size_t bytes_of(TensorView tensor) {
    return static_cast<std::size_t>(tensor.elements()) * size_of(tensor.dtype());
}

std::size_t float_bytes(Range elements) { return static_cast<std::size_t>(elements.size()) * sizeof(float); }

std::optional<Stream> stream_to(TensorView flat, Device& device) {
    if (flat.device() == DeviceKind::cpu) return std::nullopt;
    return Stream(device);
}

}  // namespace

void copy_to_host(void* host, TensorView tensor, Stream& stream) {
    if (tensor.empty()) return;
    if (tensor.device() == DeviceKind::cpu)
        std::memcpy(host, tensor.raw(), bytes_of(tensor));
    else
        stream.queue()->download(host, tensor.raw(), bytes_of(tensor));
}

void copy_to_device(TensorView tensor, void const* host, Stream& stream) {
    if (tensor.empty()) return;
    if (tensor.device() == DeviceKind::cpu)
        std::memcpy(tensor.raw(), host, bytes_of(tensor));
    else
        stream.queue()->copy_to_device(tensor.raw(), host, bytes_of(tensor));
}

void copy(TensorView to, TensorView from, Stream& stream) {
    SELVAGE_CHECK(to.elements() == from.elements() && to.dtype() == from.dtype() && to.device() == from.device(),
                  "a copy of {} to {}", from.shape().text(), to.shape().text());
    if (from.empty()) return;
    if (to.device() == DeviceKind::cpu)
        std::memcpy(to.raw(), from.raw(), bytes_of(from));
    else
        stream.queue()->copy(to.raw(), from.raw(), bytes_of(from));
}

FloatReader::FloatReader(TensorView flat, Device& device)
    : flat_(flat), stream_(stream_to(flat, device)), buffer_(device) {}

std::span<float const> FloatReader::read(Range elements) {
    auto const count = static_cast<std::size_t>(elements.size());
    if (!stream_) return {flat_.as<float>() + elements.begin, count};
    auto* const host = static_cast<float*>(buffer_.at_least(float_bytes(elements)));
    copy_to_host(host, flat_.rows(elements.begin, elements.end), *stream_);
    return {host, count};
}

FloatWriter::FloatWriter(TensorView flat, Device& device)
    : flat_(flat), stream_(stream_to(flat, device)), buffer_(device) {}

FloatWriter::~FloatWriter() {
    if (stream_) stream_->synchronize();
}

float* FloatWriter::place_of(Range elements) {
    if (!stream_) return flat_.as<float>() + elements.begin;
    return static_cast<float*>(buffer_.at_least(float_bytes(elements)));
}

void FloatWriter::send(Range elements) {
    if (stream_) copy_to_device(flat_.rows(elements.begin, elements.end), buffer_.at_least(0), *stream_);
}

void FloatWriter::fill(float value) {
    for (std::int64_t begin = 0; begin < size(); begin += piece_elements) {
        Range const piece{begin, std::min(begin + piece_elements, size())};
        write(piece, [&](float* values) { std::fill_n(values, piece.size(), value); });
    }
}

}  // namespace selvage
