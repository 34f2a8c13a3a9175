// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm.h"

#include <cmath>

#include "kernels/cuda/emulated.h"
#include "kernels/cuda/gemm_product.h"
#include "kernels/elements.h"
#include "kernels/gemm_definition.h"

namespace selvage::kernels {
namespace {

using cuda::Bf16Tile;
using cuda::MatrixProduct;
using test::Bf16s;
using test::defined;
using test::Elements;
using test::emulated;
using test::emulated_stream;
using test::epsilon_f32;
using test::epsilon_of;
using test::Floats;
using test::random_elements;
using test::random_floats;
using test::same_bits;
using test::view;
using test::view_of;
using test::widened;

// Sanitizers take their time.
#ifdef __SANITIZE_ADDRESS__
constexpr bool small = true;
#else
constexpr bool small = test::tiny;
#endif

struct Sizes {
    std::int64_t m, n, k;
};
// Within a tile and over its edges, of k also over its stages; rows that are aligned, and rows that are not.
std::vector<Sizes> all_sizes() {
    if (test::tiny) return {{17, 24, 136}, {3, 17, 70}};
    if (small) return {{3, 17, 70}, {130, 33, 265}, {17, 24, 520}, {5, 9, 0}};
    return {{1, 8, 8},     {3, 17, 70},   {130, 136, 72}, {16, 64, 64},
            {70, 33, 601}, {129, 131, 5}, {33, 72, 640},  {5, 9, 0}};
}

// Of c[m, n] = a b; at(i, j, x) gives a(i, x) and b(x, j).
struct Form {
    bool a_transposed, b_transposed;
    template <class T, class Values>
    auto at(Sizes const& s, Values const& a, Values const& b, std::int64_t i, std::int64_t j, T x) const {
        std::int64_t const of_a = a_transposed ? x * s.m + i : i * s.k + x;
        std::int64_t const of_b = b_transposed ? j * s.k + x : x * s.n + j;
        return std::pair(widened(a[static_cast<std::size_t>(of_a)]), widened(b[static_cast<std::size_t>(of_b)]));
    }
};
constexpr Form forms[] = {{false, true}, {false, false}, {true, false}};  // forward, inputs, weights

template <class E, class Out>
struct Problem {
    Problem(Sizes const& sizes, Form const& with, bool with_bias, bool with_add)
        : s(sizes),
          form(with),
          add(with_add),
          a(random_elements<E>(s.m * s.k, 1)),
          b(random_elements<E>(s.n * s.k, 2)),
          before(random_elements<Out>(s.m * s.n, 3)) {
        if (with_bias) bias = random_floats(s.n, 4);
    }
    MatrixProduct product(Elements<Out> const& c) const {
        return {.c = view_of(c, {s.m, s.n}),
                .a = view_of(a, {s.m, s.k}),
                .b = view_of(b, {s.n, s.k}),
                .bias = bias.empty() ? TensorView{} : view(bias, {s.n}),
                .m = s.m,
                .n = s.n,
                .k = s.k,
                .a_transposed = form.a_transposed,
                .b_transposed = form.b_transposed,
                .add = add};
    }
    // Against sums in double. Products of two bf16 are exact in fp32; a sum is rounded once for each of k at most.
    void expect_right(Elements<Out> const& c) const {
        for (std::int64_t i = 0; i < s.m; ++i)
            for (std::int64_t j = 0; j < s.n; ++j) {
                auto const at = static_cast<std::size_t>(i * s.n + j);
                double sum = 0, magnitude = 0;
                auto const add_one = [&](double value) {
                    sum += value;
                    magnitude += std::abs(value);
                };
                for (std::int64_t x = 0; x < s.k; ++x) {
                    auto const [of_a, of_b] = form.at(s, a, b, i, j, x);
                    add_one(static_cast<double>(of_a) * of_b);
                }
                if (!bias.empty()) add_one(bias[static_cast<std::size_t>(j)]);
                if (add) add_one(widened(before[at]));
                double const rounding = sizeof(Out) == sizeof(float) ? 0 : epsilon_of<Out>;
                ASSERT_NEAR(widened(c[at]), sum,
                            static_cast<double>(s.k + 2) * epsilon_f32 * magnitude + rounding * std::abs(sum))
                    << i << ", " << j << " of " << s.m << " x " << s.n << " x " << s.k;
            }
    }

    Sizes s;
    Form form;
    bool add;
    Elements<E> a, b;
    Elements<Out> before;
    Floats bias;
};

template <class Out>
Floats multiplied(Problem<BFloat16, Out> const& problem, Bf16Tile tile) {
    Elements<Out> c = problem.before;
    multiply_bf16(problem.product(c), tile, emulated_stream());
    problem.expect_right(c);
    return test::floats_of(c);
}

TEST(EmulatedGemm, Bf16AgreesWithAPlainLoopAndTilesWithEachOther) {
    for (Sizes const& sizes : all_sizes())
        for (Form const& form : forms)
            for (bool const extra : {false, true}) {
                Problem<BFloat16, float> const problem(sizes, form, extra, extra);
                Floats const wanted = multiplied(problem, Bf16Tile::single);
                for (Bf16Tile const tile : {Bf16Tile::wide, Bf16Tile::middle, Bf16Tile::narrow}) {
                    if (tile == Bf16Tile::wide && sizes.k > 300) continue;  // slow here
                    EXPECT_TRUE(same_bits(multiplied(problem, tile), wanted));
                }
                if (form.a_transposed) continue;
                Problem<BFloat16, BFloat16> const rounded(sizes, form, extra, !extra);
                for (Bf16Tile const tile : {Bf16Tile::middle, Bf16Tile::single}) multiplied(rounded, tile);
            }
}

TEST(EmulatedGemm, OperandsMayLieAnywhere) {
    Problem<BFloat16, float> problem({19, 24, 80}, forms[0], false, false);
    Elements<float> c = problem.before;
    MatrixProduct product = problem.product(c);
    multiply_bf16(product, Bf16Tile::single, emulated_stream());
    Floats const wanted = c;
    problem.a.insert(problem.a.begin(), BFloat16{});
    problem.b.insert(problem.b.begin(), 3, BFloat16{});
    c.assign(c.size() + 1, NAN);
    product.a = TensorView::of(problem.a.data() + 1, {19, 80});
    product.b = TensorView::of(problem.b.data() + 3, {24, 80});
    product.c = TensorView::of(c.data() + 1, {19, 24});
    multiply_bf16(product, Bf16Tile::single, emulated_stream());
    EXPECT_TRUE(std::isnan(c[0]));
    EXPECT_TRUE(same_bits(c.data() + 1, wanted.data(), wanted.size()));
}

TEST(EmulatedGemm, F32HasTheBitsOfTheDefinition) {
    std::vector<Sizes> sizes{{3, 65, 20}};
    if (!test::tiny)
        sizes = {{1, 1, 1}, {65, 70, 33}, {3, 5, 511}, {2, 9, 1025}, {3, 130, 512}, {4, 7, 2100}, {2, 3, 0}};
    for (Sizes const& s : sizes)
        for (Form const& form : forms)
            for (bool const extra : {false, true}) {
                Problem<float, float> const problem(s, form, extra, extra);
                Floats c = problem.before;
                multiply_f32(problem.product(c), emulated_stream());
                problem.expect_right(c);
                for (std::size_t at = 0; at < c.size(); ++at) {
                    auto const i = static_cast<std::int64_t>(at) / s.n, j = static_cast<std::int64_t>(at) % s.n;
                    float wanted = defined(s.k, [&](auto x) { return form.at(s, problem.a, problem.b, i, j, x); });
                    if (extra) wanted += problem.bias[static_cast<std::size_t>(j)];
                    if (extra) wanted += problem.before[at];
                    ASSERT_EQ(c[at], wanted) << i << ", " << j << " of " << s.m << " x " << s.n << " x " << s.k;
                }
            }
}

TEST(EmulatedGemm, ChoosesTilesThatFillAGpu) {
    EXPECT_EQ(cuda::choose_tile(1, 1024), Bf16Tile::single);
    EXPECT_EQ(cuda::choose_tile(16, 8192), Bf16Tile::narrow);
    EXPECT_EQ(cuda::choose_tile(17, 8192), Bf16Tile::middle);
    EXPECT_EQ(cuda::choose_tile(1000, 1024), Bf16Tile::middle);
    EXPECT_EQ(cuda::choose_tile(1000, 2048), Bf16Tile::wide);
}

// The operations, with a weight [n, k] packed in the element type.
template <class E>
class EmulatedLinear : public testing::Test {
  protected:
    std::unique_ptr<PackedWeight::Form> pack(Floats const& weight, Shape shape) {
        auto form = emulated().pack_weight(arena_, view(weight, shape), DTypeOf<E>::value, PackedWeight::Use::training);
        form->update(view(weight, shape), emulated_stream());
        return form;
    }
    std::unique_ptr<Device> device_ = make_device("emulated");
    Arena arena_{*device_};
};
TYPED_TEST_SUITE(EmulatedLinear, test::ElementTypes);

TYPED_TEST(EmulatedLinear, RowsDoNotDependOnTheNumberOfRows) {
    using E = TypeParam;
    std::int64_t const most = test::tiny ? 20 : small ? 90 : 1000, n = small ? 24 : 2048, k = 40;
    Floats const weight = random_floats(n * k, 1), bias = random_floats(n, 2);
    auto const in = random_elements<E>(most * k, 3);
    auto const d_out = random_elements<E>(most * n, 4);
    auto const packed = this->pack(weight, {n, k});
    auto const products = [&](std::int64_t m, bool last) {
        std::int64_t const first = last ? most - m : 0;
        Elements<float> out(static_cast<std::size_t>(m * n)), d_in(static_cast<std::size_t>(m * k));
        emulated().linear_forward_packed(view_of(out, {m, n}), view_of(in, {most, k}).rows(first, first + m), *packed,
                                         view(bias, {n}), emulated_stream());
        emulated().linear_backward_input_packed(view_of(d_in, {m, k}), view_of(d_out, {most, n}).rows(first, first + m),
                                                *packed, Accumulate::overwrite, emulated_stream());
        return std::pair(out, d_in);
    };
    auto const [out, d_in] = products(most, false);
    std::vector<std::int64_t> counts{1, 3};
    if (!test::tiny) counts.insert(counts.end(), {8, 64});
    for (std::int64_t const m : counts) {
        auto const [some_out, some_d_in] = products(m, true);
        EXPECT_TRUE(same_bits(some_out.data(), out.data() + (most - m) * n, some_out.size())) << m << " rows";
        EXPECT_TRUE(same_bits(some_d_in.data(), d_in.data() + (most - m) * k, some_d_in.size())) << m << " rows";
    }
}

TYPED_TEST(EmulatedLinear, PackedFollowsItsWeightAndPlainIsTheSame) {
    using E = TypeParam;
    std::int64_t const m = 5, n = 24, k = 40;
    auto const packed = this->pack(random_floats(n * k, 1), {n, k});
    Floats const weight = random_floats(n * k, 2);
    packed->update(view(weight, {n, k}), emulated_stream());
    auto const plain = test::elements_of<E>(weight);
    auto const in = random_elements<E>(m * k, 3);
    Floats out(static_cast<std::size_t>(m * n)), other = out;
    emulated().linear_forward_packed(view(out, {m, n}), view_of(in, {m, k}), *packed, {}, emulated_stream());
    emulated().linear_forward(view(other, {m, n}), view_of(in, {m, k}), view_of(plain, {n, k}), {}, emulated_stream());
    EXPECT_TRUE(same_bits(out, other));
    auto const d_out = random_elements<E>(m * n, 4);
    Floats const before = random_floats(m * k, 5);
    Floats overwritten = before, added = before;
    emulated().linear_backward_input_packed(view(overwritten, {m, k}), view_of(d_out, {m, n}), *packed,
                                            Accumulate::overwrite, emulated_stream());
    emulated().linear_backward_input(view(added, {m, k}), view_of(d_out, {m, n}), view_of(plain, {n, k}),
                                     Accumulate::add, emulated_stream());
    for (std::size_t i = 0; i < added.size(); ++i) EXPECT_EQ(added[i], before[i] + overwritten[i]);
}

TYPED_TEST(EmulatedLinear, GradientsOfWeightsAndBiases) {
    using E = TypeParam;
    std::int64_t const m = test::tiny ? 20 : 1100, k = 24;
    std::int64_t const columns[] = {9, 16};
    auto const in = random_elements<E>(m * k, 1);
    for (Accumulate const accumulate : {Accumulate::overwrite, Accumulate::add}) {
        std::vector<Elements<E>> d_out;
        std::vector<Floats> d_weight, d_bias;
        for (std::uint32_t i = 0; i < 2; ++i) {
            d_out.push_back(random_elements<E>(m * columns[i], 2 + i));
            d_weight.push_back(random_floats(columns[i] * k, 4 + i));
            d_bias.push_back(random_floats(columns[i], 6 + i));
        }
        auto const weights_before = d_weight;
        auto const biases_before = d_bias;
        std::vector<WeightGradient> gradients;
        for (std::size_t i = 0; i < 2; ++i)
            gradients.push_back({view(d_weight[i], {columns[i], k}), view(d_bias[i], {columns[i]}),
                                 view_of(d_out[i], {m, columns[i]})});
        emulated().linear_backward_weights(gradients, view_of(in, {m, k}), accumulate, emulated_stream());
        double const arithmetic = static_cast<double>(m + 2) * epsilon_f32 * static_cast<double>(m);
        bool const adds = accumulate == Accumulate::add;
        for (std::size_t g = 0; g < 2; ++g) {
            auto const n = static_cast<std::size_t>(columns[g]);
            for (std::size_t i = 0; i < n; ++i) {
                double bias = adds ? biases_before[g][i] : 0;
                std::vector<double> wanted(static_cast<std::size_t>(k));
                for (std::size_t row = 0; row < static_cast<std::size_t>(m); ++row) {
                    double const d = widened(d_out[g][row * n + i]);
                    bias += d;
                    for (std::size_t j = 0; j < wanted.size(); ++j)
                        wanted[j] += d * widened(in[row * wanted.size() + j]);
                }
                EXPECT_NEAR(d_bias[g][i], bias, arithmetic);
                for (std::size_t j = 0; j < wanted.size(); ++j) {
                    std::size_t const at = i * wanted.size() + j;
                    ASSERT_NEAR(d_weight[g][at], wanted[j] + (adds ? weights_before[g][at] : 0), arithmetic);
                }
            }
        }
    }
}

TYPED_TEST(EmulatedLinear, NoRows) {
    using E = TypeParam;
    auto const packed = this->pack(random_floats(24, 1), {3, 8});
    Elements<E> const none;
    Floats const nothing;
    emulated().linear_forward_packed(view(nothing, {0, 3}), view_of(none, {0, 8}), *packed, {}, emulated_stream());
    Floats d_weight(24, 1.0F);
    WeightGradient const gradient{view(d_weight, {3, 8}), {}, view_of(none, {0, 3})};
    emulated().linear_backward_weights({&gradient, 1}, view_of(none, {0, 8}), Accumulate::overwrite, emulated_stream());
    EXPECT_EQ(d_weight, Floats(24, 0.0F));
}

// Rows are summed in calls of 1024 in f32, as on the CPU.
TEST(EmulatedGemm, F32GradientsOfWeightsHaveTheBitsOfTheDefinition) {
    if (test::tiny) GTEST_SKIP() << "many rows";
    std::int64_t const m = 2100, n = 3, k = 5;
    Floats const d_out = random_floats(m * n, 1), in = random_floats(m * k, 2), before = random_floats(n * k, 3);
    Floats d_weight = before;
    WeightGradient const gradient{view(d_weight, {n, k}), {}, view(d_out, {m, n})};
    emulated().linear_backward_weights({&gradient, 1}, view(in, {m, k}), Accumulate::add, emulated_stream());
    for (std::size_t at = 0; at < d_weight.size(); ++at) {
        std::size_t const i = at / 5, j = at % 5;
        float wanted = before[at];
        for (std::int64_t first = 0; first < m; first += 1024)
            wanted += defined(std::min<std::int64_t>(1024, m - first), [&](std::int64_t x) {
                auto const row = static_cast<std::size_t>(first + x);
                return std::pair(d_out[row * 3 + i], in[row * 5 + j]);
            });
        ASSERT_EQ(d_weight[at], wanted) << i << ", " << j;
    }
}

}  // namespace
}  // namespace selvage::kernels
