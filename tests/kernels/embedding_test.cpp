// SPDX-License-Identifier: Apache-2.0
#include "kernels/embedding.h"

#include "kernels/elements.h"

namespace selvage::kernels {
namespace {

using test::Floats;
using test::random_floats;
using test::view;

TEST(Embedding, ForwardBackwardGatherScatter) {
    Stream stream(DeviceKind::cpu);
    std::int64_t const vocabulary = 11;
    for (std::int64_t const hidden : {1, 15, 64, 100})
        for (std::int64_t const rows : {0, 1, 9, 300}) {
            Floats const table = random_floats(vocabulary * hidden, 1);
            std::vector<std::int32_t> tokens(static_cast<std::size_t>(rows));
            for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<std::int32_t>(i * i % 11);
            Floats out(static_cast<std::size_t>(rows * hidden));
            embedding_forward(view(out, {rows, hidden}), view(table, {vocabulary, hidden}), view(tokens), stream);
            Floats const d_out = random_floats(rows * hidden, 2);
            Floats d_table = random_floats(vocabulary * hidden, 3);
            Floats wanted = d_table;
            for (std::size_t i = 0; i < out.size(); ++i) {
                auto const h = static_cast<std::size_t>(hidden);
                std::size_t const from = static_cast<std::size_t>(tokens[i / h]) * h + i % h;
                ASSERT_EQ(out[i], table[from]);
                wanted[from] += d_out[i];
            }
            embedding_backward(view(d_table, {vocabulary, hidden}), view(d_out, {rows, hidden}), view(tokens), stream);
            EXPECT_EQ(d_table, wanted);
        }
}

template <class E>
class Rows : public testing::Test {};
TYPED_TEST_SUITE(Rows, test::ElementTypes);

TYPED_TEST(Rows, ScatterUndoesGather) {
    Stream stream(DeviceKind::cpu);
    for (std::int64_t const n : {1, 20, 77}) {
        test::Elements<TypeParam> const in = test::random_elements<TypeParam>(7 * n, 4);
        std::vector<std::int32_t> const rows = {6, 0, 3};
        test::Elements<TypeParam> part(static_cast<std::size_t>(3 * n));
        gather_rows(test::view_of(part, {3, n}), test::view_of(in, {7, n}), view(rows), stream);
        test::Elements<TypeParam> out = test::elements_of<TypeParam>(Floats(in.size(), 9.0F));
        scatter_rows(test::view_of(out, {7, n}), test::view_of(part, {3, n}), view(rows), stream);
        for (std::size_t i = 0; i < out.size(); ++i) {
            std::size_t const row = i / static_cast<std::size_t>(n);
            bool const named = row == 6 || row == 0 || row == 3;
            EXPECT_EQ(test::widened(out[i]), named ? test::widened(in[i]) : 9.0F);
        }
    }
}

TEST(Embedding, RowsOfTwoTypesAreOurBug) {
    Stream stream(DeviceKind::cpu);
    Floats const wide(20);
    test::Elements<BFloat16> const narrow(20);
    std::vector<std::int32_t> const rows = {1, 0};
    EXPECT_THROW(gather_rows(view(wide, {2, 10}), test::view_of(narrow, {2, 10}), view(rows), stream), std::exception);
}

TEST(Embedding, TokensOutsideOfAPartOfTheTableAreZeros) {
    Stream stream(DeviceKind::cpu);
    Floats const table = random_floats(30, 1);
    std::vector<std::int32_t> tokens = {-1, 2, 3, 0};
    Floats out(40, 7);
    embedding_forward(view(out, {4, 10}), view(table, {3, 10}), view(tokens), stream);
    Floats d_table(30, 0.5F), wanted = d_table;
    embedding_backward(view(d_table, {3, 10}), view(out, {4, 10}), view(tokens), stream);
    for (std::size_t i = 0; i < 10; ++i) {
        EXPECT_EQ(out[i], 0);
        EXPECT_EQ(out[10 + i], table[20 + i]);
        EXPECT_EQ(out[20 + i], 0);
        wanted[20 + i] += table[20 + i];
        wanted[i] += table[i];
    }
    EXPECT_EQ(d_table, wanted);
}

}  // namespace
}  // namespace selvage::kernels
