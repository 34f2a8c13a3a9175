// SPDX-License-Identifier: Apache-2.0
#pragma once
// Tensors and host memory. Where tensors lie in host memory, as on the CPU, nothing is copied that need not be.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "tensor/layout.h"
#include "tensor/tensor.h"

namespace selvage {

// All elements. What is in `host` may be changed on return, or is there.
void copy_to_host(void* host, TensorView tensor, Stream& stream);
void copy_to_device(TensorView tensor, void const* host, Stream& stream);
// Of equal size and type, on the stream's device.
void copy(TensorView to, TensorView from, Stream& stream);

// A small array of the host's as a kernel reads it that is put into the stream next; see upload().
template <class T>
TensorView uploaded(std::span<T const> host, Stream& stream) {
    auto* const data = const_cast<T*>(upload(host, stream));
    return TensorView(data, DTypeOf<T>::value, {static_cast<std::int64_t>(host.size())}, stream.device());
}

// Where a kernel is to put what the host wants in `host`: there, if it can, or else in `buffer`'s first rows, from
// where collect() brings it.
template <class T>
TensorView result_for(std::span<T> host, Tensor const& buffer) {
    auto const count = static_cast<std::int64_t>(host.size());
    bool const reached = buffer.view().device() == DeviceKind::cpu;
    return reached ? TensorView::of(host.data(), {count}) : buffer.first(count);
}
template <class T>
void collect(std::span<T> host, TensorView result, Stream& stream) {
    if (result.raw() != host.data()) copy_to_host(host.data(), result, stream);
}

// The elements for the host to read: the tensor's own, or `copy` of them.
template <class T>
std::span<T const> on_host(TensorView tensor, std::vector<T>& copy, Stream& stream) {
    auto const count = static_cast<std::size_t>(tensor.elements());
    if (tensor.device() == DeviceKind::cpu) return {tensor.as<T>(), count};
    copy.resize(count);
    copy_to_host(copy.data(), tensor, stream);
    return copy;
}

// The elements for the host to write: the tensor's own, or `copy`, which send() brings there.
template <class T>
class HostRows {
  public:
    HostRows(TensorView tensor, std::vector<T>& copy) : tensor_(tensor) {
        bool const reached = tensor.device() == DeviceKind::cpu;
        if (!reached) copy.resize(static_cast<std::size_t>(tensor.elements()));
        data_ = reached ? tensor.as<T>() : copy.data();
    }
    T* data() const { return data_; }
    T& operator[](std::size_t i) const { return data_[i]; }
    void send(Stream& stream) const {
        if (tensor_.raw() != data_) copy_to_device(tensor_, data_, stream);
    }

  private:
    TensorView tensor_;
    T* data_;
};

// The elements of a flat f32 tensor, to read on the host. Any thread; what streams have under way must be done.
class FloatReader {
  public:
    FloatReader(TensorView flat, Device& device);
    std::int64_t size() const { return flat_.elements(); }
    // Valid until the next call.
    std::span<float const> read(Range elements);
    // Calls use(values) for all of them, piece by piece in order.
    template <class Use>
    void for_each_piece(Use const& use) {
        std::int64_t const step = stream_ ? piece_elements : std::max<std::int64_t>(size(), 1);
        for (std::int64_t begin = 0; begin < size(); begin += step) use(read({begin, std::min(begin + step, size())}));
    }

  private:
    static constexpr std::int64_t piece_elements = std::int64_t{1} << 22;
    TensorView flat_;
    std::optional<Stream> stream_;  // where the tensor is not in host memory
    HostBuffer buffer_;
};

// And to write. What was written is there when the writer is gone, or has been synchronized.
class FloatWriter {
  public:
    FloatWriter(TensorView flat, Device& device);
    ~FloatWriter();
    FloatWriter(FloatWriter const&) = delete;
    FloatWriter& operator=(FloatWriter const&) = delete;
    std::int64_t size() const { return flat_.elements(); }
    // fill(values) writes all of these elements, values[0] being the first.
    template <class Fill>
    void write(Range elements, Fill const& fill) {
        fill(place_of(elements));
        send(elements);
    }
    void fill(float value);

  private:
    static constexpr std::int64_t piece_elements = std::int64_t{1} << 22;
    float* place_of(Range elements);
    void send(Range elements);
    TensorView flat_;
    std::optional<Stream> stream_;  // where the tensor is not in host memory
    HostBuffer buffer_;
};

}  // namespace selvage
