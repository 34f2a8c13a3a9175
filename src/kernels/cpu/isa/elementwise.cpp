// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/isa/elements.h"
#include "kernels/cpu/isa/fill.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

void add(float* to, float const* from, std::int64_t n) {
    over_vectors(
        n, [&](std::int64_t i, auto count) { store(to + i, load(to + i, count) + load(from + i, count), count); });
}

void scale(float* x, float factor, std::int64_t n) {
    over_vectors(n, [&](std::int64_t i, auto count) { store(x + i, load(x + i, count) * set(factor), count); });
}

void fill(float* out, float value, std::int64_t n) {
    over_vectors(n, [&](std::int64_t i, auto count) { store(out + i, set(value), count); });
}

void fill_streaming(float* out, float value, std::int64_t n) {
    std::int64_t const whole = n / lanes * lanes;
    for (std::int64_t i = 0; i < whole; i += lanes) store_streaming(out + i, set(value));
    finish_streaming();
    fill(out + whole, value, n - whole);
}

template <class To, class From>
void convert(To* out, From const* in, std::int64_t n) {
    over_vectors(n, [&](std::int64_t i, auto count) { store(out + i, load(in + i, count), count); });
}

template <class E>
void rotate(E* x, float const* cosine, float const* sine, float sign, std::int64_t heads, std::int64_t head_size,
            std::int64_t half) {
    over_vectors(half, [&](std::int64_t i, auto count) {
        F16 const c = load(cosine + i, count);
        F16 const s = load(sine + i, count) * set(sign);
        for (std::int64_t head = 0; head < heads; ++head) {
            E* const first = x + head * head_size + i;
            F16 const a = load(first, count);
            F16 const b = load(first + half, count);
            store(first, fma(a, c, set(0.0F) - b * s), count);
            store(first + half, fma(b, c, a * s), count);
        }
    });
}

template <class E>
void add_rows(float* sums, E const* rows, std::int64_t count, std::int64_t stride, std::int64_t n) {
    over_vectors(n, [&](std::int64_t i, auto width) {
        F16 sum = load(sums + i, width);
        for (std::int64_t row = 0; row < count; ++row) sum = sum + load(rows + row * stride + i, width);
        store(sums + i, sum, width);
    });
}

void adamw(float* values, float* first_moment, float* second_moment, float const* gradient, AdamWConstants const& c,
           std::int64_t n) {
    for (std::int64_t i = 0; i < n; i += lanes) {
        ahead(gradient + i, first_moment + i, second_moment + i, values + i);
        F16 const g = load(gradient + i) * set(c.gradient_scale);
        F16 const m = fma(set(c.beta1), load(first_moment + i), set(c.one_minus_beta1) * g);
        F16 const v = fma(set(c.beta2), load(second_moment + i), set(c.one_minus_beta2) * (g * g));
        F16 const root = sqrt(v * set(c.second_correction)) + set(c.epsilon);
        F16 const value = load(values + i);
        F16 const step = fma(set(c.weight_decay), value, m * set(c.first_correction) / root);
        store(first_moment + i, m);
        store(second_moment + i, v);
        store(values + i, fma(set(-c.learning_rate), step, value));
    }
}

// 16 sums side by side, then the tree; products of two floats are exact in fp64.
double sum_of_squares(float const* x, std::int64_t n) {
    double sums[lanes] = {};
    std::int64_t i = 0;
    for (; i + lanes <= n; i += lanes) {
        ahead(x + i);
        for (int j = 0; j < lanes; ++j) {
            double const value = x[i + j];
            sums[j] += value * value;
        }
    }
    for (int j = 0; i + j < n; ++j) {
        double const value = x[i + j];
        sums[j] += value * value;
    }
    for (int step = lanes / 2; step > 0; step /= 2)
        for (int j = 0; j < step; ++j) sums[j] += sums[j + step];
    return sums[0];
}

}  // namespace

void fill_elementwise(KernelTable& table) {
    table.add = add;
    table.scale = scale;
    table.fill = fill;
    table.fill_streaming = fill_streaming;
    table.narrow = convert<BFloat16, float>;
    table.widen = convert<float, BFloat16>;
    table.f32.rotate = rotate<float>;
    table.bf16.rotate = rotate<BFloat16>;
    table.f32.add_rows = add_rows<float>;
    table.bf16.add_rows = add_rows<BFloat16>;
    table.adamw = adamw;
    table.sum_of_squares = sum_of_squares;
}

}  // namespace selvage::kernels::SELVAGE_ISA
