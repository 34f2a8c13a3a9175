// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/emulated.h"
#include "kernels/elements.h"

namespace selvage::kernels {
namespace {

using test::Elements;
using test::emulated;
using test::emulated_stream;
using test::Floats;
using test::random_floats;
using test::view;
using test::view_of;

constexpr std::int64_t vocabulary = 11;

// Sums in row order, bit for bit; tokens outside of the table give zeros and no gradient.
void check_embedding(std::int64_t rows, std::int64_t hidden, bool all_alike) {
    Floats const table = random_floats(vocabulary * hidden, 1), d_out = random_floats(rows * hidden, 2);
    std::vector<std::int32_t> tokens(static_cast<std::size_t>(rows));
    for (std::size_t i = 0; i < tokens.size(); ++i)
        tokens[i] = all_alike ? 5 : static_cast<std::int32_t>(i * i % 13) - (i % 7 == 0 ? 2 : 0);  // from -2 to 12
    Floats out(d_out.size(), -7), d_table = random_floats(vocabulary * hidden, 3), wanted = d_table;
    emulated().embedding_forward(view(out, {rows, hidden}), view(table, {vocabulary, hidden}), view(tokens),
                                 emulated_stream());
    emulated().embedding_backward(view(d_table, {vocabulary, hidden}), view(d_out, {rows, hidden}), view(tokens),
                                  emulated_stream());
    auto const h = static_cast<std::size_t>(hidden);
    for (std::size_t i = 0; i < out.size(); ++i) {
        std::int32_t const token = tokens[i / h];
        bool const inside = 0 <= token && token < vocabulary;
        std::size_t const from = inside ? static_cast<std::size_t>(token) * h + i % h : 0;
        ASSERT_EQ(out[i], inside ? table[from] : 0.0F) << i;
        if (inside) wanted[from] += d_out[i];
    }
    EXPECT_TRUE(test::same_bits(d_table, wanted)) << rows << " rows of " << hidden;
}

TEST(EmulatedEmbedding, ForwardAndBackward) {
    for (std::int64_t const hidden : {1, 4, 17, 1028}) {
        if (test::tiny && hidden > 17) continue;
        for (std::int64_t const rows : {0, 1, 33}) check_embedding(rows, hidden, false);
    }
    if (test::tiny) return check_embedding(520, 1, true);
    for (std::int64_t const rows : {300, 1300}) {  // more than a block looks at at once, more than it lists
        check_embedding(rows, 3, false);
        check_embedding(rows, 4, true);
    }
}

template <class E>
class EmulatedRows : public testing::Test {};
TYPED_TEST_SUITE(EmulatedRows, test::ElementTypes);

TYPED_TEST(EmulatedRows, ScatterUndoesGather) {
    for (std::int64_t const n : {1, 3, 8, 20, 1000}) {
        Elements<TypeParam> const in = test::random_elements<TypeParam>(7 * n, 4);
        std::vector<std::int32_t> const rows = {6, 0, 3};
        Elements<TypeParam> part(static_cast<std::size_t>(3 * n));
        emulated().gather_rows(view_of(part, {3, n}), view_of(in, {7, n}), view(rows), emulated_stream());
        for (std::size_t i = 0; i < part.size(); ++i) {
            auto const from =
                static_cast<std::size_t>(rows[i / static_cast<std::size_t>(n)] * n) + i % static_cast<std::size_t>(n);
            ASSERT_EQ(test::widened(part[i]), test::widened(in[from]));
        }
        Elements<TypeParam> out = test::elements_of<TypeParam>(Floats(in.size(), 9.0F));
        emulated().scatter_rows(view_of(out, {7, n}), view_of(part, {3, n}), view(rows), emulated_stream());
        for (std::size_t i = 0; i < out.size(); ++i) {
            std::size_t const row = i / static_cast<std::size_t>(n);
            bool const named = row == 6 || row == 0 || row == 3;
            ASSERT_EQ(test::widened(out[i]), named ? test::widened(in[i]) : 9.0F);
        }
    }
}

TEST(EmulatedEmbedding, RowsOfTwoTypesAreOurBug) {
    Floats const wide(20);
    Elements<BFloat16> const narrow(20);
    std::vector<std::int32_t> const rows = {1, 0};
    EXPECT_THROW(emulated().gather_rows(view(wide, {2, 10}), view_of(narrow, {2, 10}), view(rows), emulated_stream()),
                 std::exception);
}

}  // namespace
}  // namespace selvage::kernels
