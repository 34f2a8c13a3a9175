// SPDX-License-Identifier: Apache-2.0
#include "kernels/activation.h"

#include "kernels/arguments.h"
#include "kernels/cuda/column_sums.h"
#include "kernels/cuda/elements.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/softcap.h"

namespace selvage::kernels::cuda {
namespace {

constexpr float root_two_over_pi_twice = 1.5957691216057308F;  // 2 sqrt(2 / pi)
constexpr float gelu_cubic = 0.044715F;
constexpr int column_threads = 128;

// SiLU, or the tanh form of GELU in terms of the sigmoid: (1 + tanh(u)) / 2 = sigmoid(2 u).
template <Gate gate>
struct Gated {
    float x;
    float s;
    __device__ explicit Gated(float argument) : x(argument) {
        float inner = x;
        if constexpr (gate == Gate::gelu) inner = x * root_two_over_pi_twice * fmaf(x * x, gelu_cubic, 1.0F);
        s = 1.0F / (1.0F + expf(-inner));
    }
    __device__ float value() const { return x * s; }
    __device__ float slope() const {
        float inner = x;
        if constexpr (gate == Gate::gelu) inner = x * (root_two_over_pi_twice * fmaf(x * x, 3 * gelu_cubic, 1.0F));
        return fmaf(inner, s * (1.0F - s), s);
    }
};

// x times the normal distribution's function.
template <>
struct Gated<Gate::gelu_erf> {
    float x;
    float s;
    __device__ explicit Gated(float argument) : x(argument), s(0.5F * erfcf(-0.70710678F * argument)) {}
    __device__ float value() const { return x * s; }
    __device__ float slope() const { return fmaf(x * expf(-0.5F * x * x), 0.3989422804F, s); }
};

template <class... E>
bool eight_at_a_time(E const*... addresses) {
    return (aligned_for(elementwise_width * sizeof(E), addresses) && ...);
}

template <Gate gate, class E>
struct GatedForward {
    E* out;
    E const *in, *up;
    bool aligned() const { return eight_at_a_time(out, in, up); }
    template <int width>
    __device__ void at(std::int64_t i) const {
        Vector<width> x = load<width>(in + i);
        Vector<width> const u = load<width>(up + i);
        for (int j = 0; j < width; ++j) x[j] = Gated<gate>(x[j]).value() * u[j];
        store(out + i, x);
    }
};

template <Gate gate, class E>
struct GatedBackward {
    E *d_in, *d_up;
    E const *d_out, *in, *up;
    bool aligned() const { return eight_at_a_time(d_in, d_up, d_out, in, up); }
    template <int width>
    __device__ void at(std::int64_t i) const {
        Vector<width> x = load<width>(in + i), u = load<width>(up + i);
        Vector<width> const d = load<width>(d_out + i);
        for (int j = 0; j < width; ++j) {
            Gated<gate> const gated(x[j]);
            x[j] = d[j] * u[j] * gated.slope();
            u[j] = d[j] * gated.value();
        }
        store(d_up + i, u);
        store(d_in + i, x);
    }
};

template <Gate gate, class E>
struct GeluForward {
    E* out;
    E const* in;
    bool aligned() const { return eight_at_a_time(out, in); }
    template <int width>
    __device__ void at(std::int64_t i) const {
        Vector<width> x = load<width>(in + i);
        for (int j = 0; j < width; ++j) x[j] = Gated<gate>(x[j]).value();
        store(out + i, x);
    }
};

template <Gate gate, class E>
struct GeluBackward {
    E* d_in;
    E const *d_out, *in;
    bool aligned() const { return eight_at_a_time(d_in, d_out, in); }
    template <int width>
    __device__ void at(std::int64_t i) const {
        Vector<width> x = load<width>(in + i);
        Vector<width> const d = load<width>(d_out + i);
        for (int j = 0; j < width; ++j) x[j] = d[j] * Gated<gate>(x[j]).slope();
        store(d_in + i, x);
    }
};

struct SoftcapForward {
    float* x;
    float cap;
    bool aligned() const { return eight_at_a_time(x); }
    template <int width>
    __device__ void at(std::int64_t i) const {
        Vector<width> values = load<width>(x + i);
        for (int j = 0; j < width; ++j) values[j] = softcap(values[j], cap);
        store(x + i, values);
    }
};

template <class E>
struct SoftcapBackward {
    E* d_x;
    float const* capped;
    float cap;
    bool aligned() const { return eight_at_a_time(d_x, capped); }
    template <int width>
    __device__ void at(std::int64_t i) const {
        Vector<width> d = load<width>(d_x + i);
        Vector<width> const y = load<width>(capped + i);
        for (int j = 0; j < width; ++j) d[j] *= softcap_slope(y[j], cap);
        store(d_x + i, d);
    }
};

struct AddInPlace {
    float* to;
    float const* from;
    bool aligned() const { return eight_at_a_time(to, from); }
    template <int width>
    __device__ void at(std::int64_t i) const {
        Vector<width> x = load<width>(to + i);
        Vector<width> const y = load<width>(from + i);
        for (int j = 0; j < width; ++j) x[j] += y[j];
        store(to + i, x);
    }
};

struct Scale {
    float* x;
    float factor;
    bool aligned() const { return eight_at_a_time(x); }
    template <int width>
    __device__ void at(std::int64_t i) const {
        Vector<width> values = load<width>(x + i);
        for (int j = 0; j < width; ++j) values[j] *= factor;
        store(x + i, values);
    }
};

struct AddToRows {
    float* rows;
    float const* row;
    std::int64_t columns;
    bool aligned() const { return columns % elementwise_width == 0 && eight_at_a_time(rows, row); }
    template <int width>
    __device__ void at(std::int64_t i) const {
        Vector<width> x = load<width>(rows + i);
        Vector<width> const y = load<width>(row + i % columns);
        for (int j = 0; j < width; ++j) x[j] += y[j];
        store(rows + i, x);
    }
};

struct Fill {
    float* out;
    float value;
    bool aligned() const { return eight_at_a_time(out); }
    template <int width>
    __device__ void at(std::int64_t i) const {
        Vector<width> x;
        for (int j = 0; j < width; ++j) x[j] = value;
        store(out + i, x);
    }
};

template <class To, class From>
struct Convert {
    To* out;
    From const* in;
    bool aligned() const { return eight_at_a_time(out, in); }
    template <int width>
    __device__ void at(std::int64_t i) const {
        store(out + i, load<width>(in + i));
    }
};

// partial[chunk, columns] = sums over the rows of a chunk, one after the other.
template <class E, int width>
__global__ void __launch_bounds__(column_threads)
    chunk_sums_kernel(float* partial, E const* x, RowChunks chunks, std::int64_t columns) {
    std::int64_t const thread = static_cast<std::int64_t>(blockIdx.y) * column_threads + threadIdx.x;
    std::int64_t const column = thread * width;
    if (column >= columns) return;
    std::int64_t const first = blockIdx.x * chunks.rows_each;
    std::int64_t const end = min(first + chunks.rows_each, chunks.rows);
    Vector<width> sum = load<width>(x + first * columns + column);
#pragma unroll 4
    for (std::int64_t row = first + 1; row < end; ++row) {
        Vector<width> const next = load<width>(x + row * columns + column);
        for (int j = 0; j < width; ++j) sum[j] += next[j];
    }
    store(partial + blockIdx.x * columns + column, sum);
}

template <class E, int width>
void add_column_sums_by(float* sums, E const* x, RowChunks const& chunks, std::int64_t columns, Stream& stream) {
    float* const partial = scratch<float>(static_cast<std::size_t>(chunks.count * columns), stream);
    std::int64_t const each = std::int64_t{column_threads} * width;
    dim3 const grid(static_cast<unsigned>(chunks.count), static_cast<unsigned>((columns + each - 1) / each));
    launch(chunk_sums_kernel<E, width>, grid, column_threads, 0, stream, partial, x, chunks, columns);
    add_chunks(sums, partial, chunks.count, columns, stream);
}

template <class Work>
void with_gate(Gate function, Work const& work) {
    if (function == Gate::gelu) return work.template operator()<Gate::gelu>();
    if (function == Gate::gelu_erf) return work.template operator()<Gate::gelu_erf>();
    work.template operator()<Gate::silu>();
}

Gate gate_of(Gelu form) { return form == Gelu::tanh ? Gate::gelu : Gate::gelu_erf; }

}  // namespace

void gated_forward(TensorView out, TensorView gate, TensorView up, Gate function, Stream& stream) {
    check_same(out, gate);
    check_same(out, up);
    with_element(out, [&]<class E>() {
        with_gate(function, [&]<Gate of>() {
            over_elements(out.elements(), GatedForward<of, E>{out.as<E>(), gate.as<E>(), up.as<E>()}, stream);
        });
    });
}

void gated_backward(TensorView d_gate, TensorView d_up, TensorView d_out, TensorView gate, TensorView up, Gate function,
                    Stream& stream) {
    check_same(d_gate, gate);
    check_same(d_up, up);
    check_same(d_out, gate);
    check_same(gate, up);
    with_element(gate, [&]<class E>() {
        with_gate(function, [&]<Gate of>() {
            GatedBackward<of, E> const body{d_gate.as<E>(), d_up.as<E>(), d_out.as<E>(), gate.as<E>(), up.as<E>()};
            over_elements(gate.elements(), body, stream);
        });
    });
}

void gelu_forward(TensorView out, TensorView in, Gelu form, Stream& stream) {
    check_same(out, in);
    with_element(out, [&]<class E>() {
        with_gate(gate_of(form), [&]<Gate of>() {
            over_elements(in.elements(), GeluForward<of, E>{out.as<E>(), in.as<E>()}, stream);
        });
    });
}

void gelu_backward(TensorView d_in, TensorView d_out, TensorView in, Gelu form, Stream& stream) {
    check_same(d_in, in);
    check_same(d_out, in);
    with_element(in, [&]<class E>() {
        with_gate(gate_of(form), [&]<Gate of>() {
            over_elements(in.elements(), GeluBackward<of, E>{d_in.as<E>(), d_out.as<E>(), in.as<E>()}, stream);
        });
    });
}

void softcap_forward(TensorView x, float cap, Stream& stream) {
    over_elements(x.elements(), SoftcapForward{x.as<float>(), cap}, stream);
}

void softcap_backward(TensorView d_x, TensorView capped, float cap, Stream& stream) {
    check_same(d_x, capped);
    with_element(d_x, [&]<class E>() {
        over_elements(d_x.elements(), SoftcapBackward<E>{d_x.as<E>(), capped.as<float>(), cap}, stream);
    });
}

void add_in_place(TensorView to, TensorView from, Stream& stream) {
    check_same(to, from);
    over_elements(to.elements(), AddInPlace{to.as<float>(), from.as<float>()}, stream);
}

void scale_in_place(TensorView x, float factor, Stream& stream) {
    over_elements(x.elements(), Scale{x.as<float>(), factor}, stream);
}

void add_to_rows(TensorView rows, TensorView row, Stream& stream) {
    std::int64_t const columns = row.elements();
    SELVAGE_CHECK(columns == 0 ? rows.elements() == 0 : rows.elements() % columns == 0, "{} columns added to {}",
                  columns, rows.shape().text());
    over_elements(rows.elements(), AddToRows{rows.as<float>(), row.as<float>(), columns}, stream);
}

void fill(TensorView out, float value, Stream& stream) {
    over_elements(out.elements(), Fill{out.as<float>(), value}, stream);
}

void add_column_sums(TensorView sums, TensorView rows, Stream& stream) {
    std::int64_t const columns = sums.elements();
    std::int64_t const count = columns == 0 ? 0 : rows.elements() / columns;
    SELVAGE_CHECK(rows.elements() == count * columns, "sums of {} columns over {}", columns, rows.shape().text());
    if (count == 0) return;
    with_element(rows, [&]<class E>() {
        constexpr int width = 16 / sizeof(E);
        E const* const x = rows.as<E>();
        RowChunks const chunks = chunks_of(count);
        if (columns % width == 0 && aligned_for(16, x))
            add_column_sums_by<E, width>(sums.as<float>(), x, chunks, columns, stream);
        else
            add_column_sums_by<E, 1>(sums.as<float>(), x, chunks, columns, stream);
    });
}

void convert(TensorView out, TensorView in, Stream& stream) {
    check_same(out, in);
    SELVAGE_CHECK(out.dtype() != in.dtype(), "conversion from {} to itself", name_of(in.dtype()));
    if (out.dtype() == DType::bf16)
        over_elements(out.elements(), Convert<BFloat16, float>{out.as<BFloat16>(), in.as<float>()}, stream);
    else
        over_elements(out.elements(), Convert<float, BFloat16>{out.as<float>(), in.as<BFloat16>()}, stream);
}

void fill_activation(Operations& operations) {
    operations.gated_forward = gated_forward;
    operations.gated_backward = gated_backward;
    operations.gelu_forward = gelu_forward;
    operations.gelu_backward = gelu_backward;
    operations.softcap_forward = softcap_forward;
    operations.softcap_backward = softcap_backward;
    operations.add_in_place = add_in_place;
    operations.scale_in_place = scale_in_place;
    operations.add_to_rows = add_to_rows;
    operations.fill = fill;
    operations.add_column_sums = add_column_sums;
    operations.convert = convert;
}

}  // namespace selvage::kernels::cuda
