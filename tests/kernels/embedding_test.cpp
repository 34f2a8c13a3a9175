// SPDX-License-Identifier: Apache-2.0
#include "kernels/embedding.h"

#include "kernels/numbers.h"

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

TEST(Embedding, ScatterUndoesGather) {
    Stream stream(DeviceKind::cpu);
    Floats const in = random_floats(7 * 20, 4);
    std::vector<std::int32_t> const rows = {6, 0, 3};
    Floats part(3 * 20);
    gather_rows(view(part, {3, 20}), view(in, {7, 20}), view(rows), stream);
    Floats out(in.size(), 9.0F);
    scatter_rows(view(out, {7, 20}), view(part, {3, 20}), view(rows), stream);
    for (std::size_t i = 0; i < out.size(); ++i) {
        std::size_t const row = i / 20;
        EXPECT_EQ(out[i], row == 6 || row == 0 || row == 3 ? in[i] : 9.0F);
    }
}

TEST(Embedding, ATokenOutsideTheTableIsOurBug) {
    Stream stream(DeviceKind::cpu);
    Floats const table(30);
    Floats out(10);
    std::vector<std::int32_t> const tokens = {3};
    EXPECT_THROW(embedding_forward(view(out, {1, 10}), view(table, {3, 10}), view(tokens), stream), std::exception);
}

}  // namespace
}  // namespace selvage::kernels
