// SPDX-License-Identifier: Apache-2.0
#include "kernels/rotary.h"

#include <algorithm>

#include "kernels/arguments.h"
#include "kernels/cuda/elements.h"
#include "kernels/cuda/operations.h"

namespace selvage::kernels::cuda {
namespace {

constexpr int most_pairs = 128;  // of a head; with their frequencies a kernel's arguments are about a kilobyte
constexpr int most_threads = 256;

// Radians per position of each pair.
struct Frequencies {
    double of_pair[most_pairs];
};

struct Turn {
    std::int64_t heads, head_size;
    int pairs;
    float sign;
};

// Rounded cosine and sine of an angle from 0 to 2^31, in doubles and by operations that all devices round alike: the
// angle less whole quarter turns (pi / 2 in two parts, Cody and Waite 1980), then Taylor's series. A table of them
// would need to know the largest position, which is in device memory.
__device__ float2 cosine_and_sine(double angle) {
    double const quarters = floor(fma(angle, 0x1.45f306dc9c883p-1, 0.5));
    double r = fma(-quarters, 0x1.921fb54442d18p+0, angle);
    r = fma(-quarters, 0x1.1a62633145c07p-54, r);
    double const square = r * r;
    double sine = -1.0 / 39916800;
    sine = fma(sine, square, 1.0 / 362880);
    sine = fma(sine, square, -1.0 / 5040);
    sine = fma(sine, square, 1.0 / 120);
    sine = fma(sine, square, -1.0 / 6);
    sine = fma(sine * square, r, r);
    double cosine = 1.0 / 479001600;
    cosine = fma(cosine, square, -1.0 / 3628800);
    cosine = fma(cosine, square, 1.0 / 40320);
    cosine = fma(cosine, square, -1.0 / 720);
    cosine = fma(cosine, square, 1.0 / 24);
    cosine = fma(cosine, square, -0.5);
    cosine = fma(cosine, square, 1.0);
    unsigned const quadrant = static_cast<unsigned>(static_cast<long long>(quarters)) % 4;
    double const x = quadrant % 2 == 0 ? cosine : -sine, y = quadrant % 2 == 0 ? sine : cosine;
    return quadrant < 2 ? make_float2(static_cast<float>(x), static_cast<float>(y))
                        : make_float2(static_cast<float>(-x), static_cast<float>(-y));
}

// A block has a row: first the angles, which its heads share.
template <class E, int width>
__global__ void __launch_bounds__(most_threads)
    rotary_kernel(E* x, std::int32_t const* positions, Turn turn, Frequencies frequencies) {
    alignas(16) __shared__ float cosines[most_pairs];
    alignas(16) __shared__ float sines[most_pairs];
    std::int64_t const row = blockIdx.x;
    double const position = positions[row];
    for (int pair = static_cast<int>(threadIdx.x); pair < turn.pairs; pair += static_cast<int>(blockDim.x)) {
        float2 const angle = cosine_and_sine(position * frequencies.of_pair[pair]);
        cosines[pair] = angle.x;
        sines[pair] = angle.y * turn.sign;
    }
    __syncthreads();
    int const vectors = turn.pairs / width;
    E* const row_of_x = x + row * turn.heads * turn.head_size;
    for (std::int64_t i = threadIdx.x; i < turn.heads * vectors; i += blockDim.x) {
        int const pair = static_cast<int>(i % vectors) * width;
        E* const first = row_of_x + i / vectors * turn.head_size + pair;
        Vector<width> a = load<width>(first), b = load<width>(first + turn.pairs);
        Vector<width> const c = load<width>(cosines + pair), s = load<width>(sines + pair);
        for (int j = 0; j < width; ++j) {
            float const kept = a[j];
            a[j] = fmaf(kept, c[j], -(b[j] * s[j]));
            b[j] = fmaf(b[j], c[j], kept * s[j]);
        }
        store(first, a);
        store(first + turn.pairs, b);
    }
}

void rotate(TensorView x, TensorView positions, RotaryOptions const& options, float sign, Stream& stream) {
    if (x.empty() || options.rotated == 0) return;
    std::int64_t const rows = x.dim(0);
    Turn const turn{x.dim(1), x.dim(2), static_cast<int>(options.rotated / 2), sign};
    SELVAGE_CHECK(options.rotated % 2 == 0 && 0 < options.rotated && options.rotated <= turn.head_size &&
                      turn.pairs <= most_pairs && positions.elements() == rows,
                  "rotary over {} dims (at most {}) of {} with {} positions", options.rotated, 2 * most_pairs,
                  x.shape().text(), positions.elements());
    Frequencies frequencies{};
    for (int pair = 0; pair < turn.pairs; ++pair) frequencies.of_pair[pair] = options.frequency(pair);
    with_element(x, [&]<class E>() {
        auto const run = [&]<int width>() {
            std::int64_t const work = std::max<std::int64_t>(turn.heads * (turn.pairs / width), turn.pairs);
            auto const threads = static_cast<unsigned>(std::min<std::int64_t>((work + 31) / 32 * 32, most_threads));
            launch(rotary_kernel<E, width>, static_cast<unsigned>(rows), threads, 0, stream, x.as<E>(),
                   positions.as<std::int32_t>(), turn, frequencies);
        };
        if (turn.pairs % 8 == 0 && turn.head_size % 8 == 0 && aligned_for(16, x.as<E>()))
            run.template operator()<8>();
        else
            run.template operator()<1>();
    });
}

}  // namespace

void rotary_forward(TensorView x, TensorView positions, RotaryOptions const& options, Stream& stream) {
    rotate(x, positions, options, 1.0F, stream);
}

void rotary_backward(TensorView d_x, TensorView positions, RotaryOptions const& options, Stream& stream) {
    rotate(d_x, positions, options, -1.0F, stream);
}

void fill_rotary(Operations& operations) {
    operations.rotary_forward = rotary_forward;
    operations.rotary_backward = rotary_backward;
}

}  // namespace selvage::kernels::cuda
