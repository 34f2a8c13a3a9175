// SPDX-License-Identifier: Apache-2.0
// The tables of all instruction sets give the same bits, and any number of threads does.
#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <functional>
#include <limits>

#include "device/cpu/cpu_device.h"
#include "kernels/cpu/attention_backward.h"
#include "kernels/cpu/gemm_ways.h"
#include "kernels/cpu/table.h"
#include "kernels/gemm.h"
#include "kernels/numbers.h"

namespace selvage::kernels {
namespace {

using test::append;
using test::epsilon_f32;
using test::Floats;
using test::other_tables;
using test::random_floats;
using test::same_bits;
using test::view;

Floats product(KernelTable const& t) {
    Floats all;
    for (std::int64_t const k : {1, 17, 520}) {
        std::int64_t const rows = 9;
        Floats const a = random_floats(rows * k, 1), b = random_floats(100 * k, 2), bias = random_floats(100, 3);
        Floats out = random_floats(rows * 100, 4);
        Floats panel(static_cast<std::size_t>(t.panel * k));
        Floats tiles(static_cast<std::size_t>((rows + t.tile_rows) * k));
        t.pack_tiles(tiles.data(), a.data(), rows, rows, k);
        for (bool const transposed : {false, true})
            for (std::int64_t column = 0; column < 100; column += t.panel) {
                std::int64_t const columns = std::min(t.panel, 100 - column);
                t.pack_panel(panel.data(), b.data() + column * (transposed ? k : 1), transposed ? 1 : 100,
                             transposed ? k : 1, k, columns);
                t.product_tile({.c = out.data() + column,
                                .c_stride = 100,
                                .a = transposed ? tiles.data() : a.data(),
                                .a_row = transposed ? t.tile_rows * k : k,
                                .a_tiles = transposed,
                                .b = panel.data(),
                                .next = nullptr,
                                .bias = bias.data() + column,
                                .rows = rows,
                                .columns = columns,
                                .k = k,
                                .k_block = gemm_k_block(k),
                                .add = transposed});
            }
        append(all, out);
    }
    return all;
}

Floats attention(KernelTable const& t, float softcap, std::int64_t window) {
    Floats all;
    for (std::int64_t const size : {64, 22}) {
        std::int64_t const length = 600;
        std::int64_t const page_size = 2 * size * 64;
        Floats const pages = random_floats(10 * page_size, 5, 2);
        Floats const queries = random_floats(t.tile_rows * size, 6, 2);
        Floats out(static_cast<std::size_t>(4 * size)), totals(4);
        std::int32_t const table[] = {9, 8, 7, 6, 5, 4, 3, 2, 1, 0};
        AttentionTile<float> tile{};
        for (std::size_t i = 0; i < 4; ++i) {
            tile.out[i] = out.data() + i * static_cast<std::size_t>(size);
            tile.log_sum_exp[i] = totals.data() + i;
            tile.query[i] = queries.data() + i * static_cast<std::size_t>(size);
            tile.position[i] = length - 90 + 30 * static_cast<std::int64_t>(i);
        }
        tile.queries = 4;
        tile.pages = pages.data();
        tile.page_size = page_size;
        tile.values_offset = size * 64;
        tile.page_table = table;
        tile.head_size = size;
        tile.scale = 0.2F;
        tile.softcap = softcap;
        tile.window = window;
        t.attention.tile(tile);
        append(all, out);
        append(all, totals);
        std::int64_t const rows = 70;
        Floats const q = random_floats(rows * 2 * size, 7), k = random_floats(rows * size, 8),
                     v = random_floats(rows * size, 9), d_out = random_floats(rows * 2 * size, 10),
                     o = random_floats(rows * 2 * size, 11);
        Floats const lse(static_cast<std::size_t>(rows * 2), 5.0F);
        Floats dq(q.size()), dk(k.size()), dv(v.size());
        AttentionPacked<float> const packed(size, rows, 2);
        Floats memory(static_cast<std::size_t>(packed.floats() + packed.workspace_floats()));
        AttentionBackward<float> const backward{.d_queries = dq.data(),
                                                .d_keys = dk.data(),
                                                .d_values = dv.data(),
                                                .d_out = d_out.data(),
                                                .out = o.data(),
                                                .log_sum_exp = lse.data(),
                                                .queries = q.data(),
                                                .keys = k.data(),
                                                .values = v.data(),
                                                .packed = memory.data(),
                                                .workspace = memory.data() + packed.floats(),
                                                .rows = rows,
                                                .query_stride = 2 * size,
                                                .key_stride = size,
                                                .heads = 2,
                                                .group = 2,
                                                .head_size = size,
                                                .scale = 0.2F,
                                                .softcap = softcap,
                                                .window = window};
        attention_backward_whole(t.attention_backward, backward);
        append(all, dq);
        append(all, dk);
        append(all, dv);
    }
    return all;
}

Floats rows(KernelTable const& t) {
    Floats all;
    for (std::int64_t const n : {1, 16, 30, 2100}) {
        auto const size = static_cast<std::size_t>(n);
        Floats const a = random_floats(n, 12, 10), b = random_floats(n, 13), c = random_floats(n, 14);
        Floats out(size), other(size), more(16);
        auto const keep = [&] {
            append(all, out);
            append(all, other);
            append(all, more);
        };
        more[0] = t.row_log_sum_exp(a.data(), n);
        BlockSum blocks[3];
        t.row_block_sums(blocks, a.data(), n, n - 1, &more[9]);
        more[10] = t.merge_block_sums(blocks, (n + 1023) / 1024);
        for (std::size_t i = 0; i < 3; ++i) append(all, {blocks[i].max, blocks[i].sum});
        more[1] = t.row_max(a.data(), n);
        Floats weights(size + 15), lane_maxima(16 * 3);
        std::int64_t totals[3] = {}, count = 0;
        t.row_weights({a.data(), n, more[1], 0.8F, totals, weights.data(), lane_maxima.data()});
        append(all, weights);
        append(all, lane_maxima);
        for (std::size_t i = 0; i < 3; ++i) more[i + 2] = static_cast<float>(totals[i]);
        more[5] = static_cast<float>(t.sum_at_least(weights.data(), 1e6F, n, &count));
        std::vector<std::int32_t> ids(size);
        more[6] = static_cast<float>(t.select_between(ids.data(), weights.data(), 1e3F, 1e9F, n));
        for (std::size_t i = 0; i < size; ++i) other[i] = static_cast<float>(ids[i]);
        more[7] = static_cast<float>(count);
        more[8] = static_cast<float>(t.row_argmax(a.data(), n));
        keep();
        other = b;
        more[2] = static_cast<float>(t.sum_of_squares(a.data(), n));
        t.add(out.data(), c.data(), n);
        keep();
        if (n % 16 == 0) {
            Floats second(size, 0.5F);
            t.adamw(out.data(), other.data(), second.data(), b.data(),
                    {0.5F, 0.9F, 0.1F, 0.95F, 0.05F, 1.5F, 2.5F, 1e-8F, 0.1F, 1e-3F}, n);
            append(all, second);
            keep();
        }
    }
    return all;
}

TEST(InstructionSets, GiveTheSameBits) {
    KernelTable const& portable = *kernel_table("portable");
    int compared = 0;
    for (char const* const name : other_tables) {
        KernelTable const* const table = kernel_table(name);
        if (table == nullptr) continue;
        ++compared;
        EXPECT_TRUE(same_bits(product(portable), product(*table))) << name;
        EXPECT_TRUE(same_bits(attention(portable, 0, all_keys), attention(*table, 0, all_keys))) << name;
        EXPECT_TRUE(same_bits(attention(portable, 2, 50), attention(*table, 2, 50))) << name;
        EXPECT_TRUE(same_bits(rows(portable), rows(*table))) << name;
    }
    if (compared == 0) GTEST_SKIP() << "this processor has only the portable table";
}

TEST(InstructionSets, ExpAndLogAreAccurateAndTheSame) {
    Floats x;
    for (float value = -90; value < 90; value += 0.00371F) x.push_back(value);
    append(x, {0.0F, -0.0F, 1e-20F, -1e-20F, -87.33F, -87.34F, 88.72F, 88.73F, -1000, 1000, -1e30F, 1e30F,
               -std::numeric_limits<float>::infinity(), std::numeric_limits<float>::infinity()});
    Floats y(x.size()), z(x.size());
    auto const n = static_cast<std::int64_t>(x.size());
    kernel_table("portable")->row_exp(y.data(), x.data(), n);
    for (std::size_t i = 0; i < x.size(); ++i) {
        double const wanted = std::exp(static_cast<double>(x[i]));
        if (x[i] < -87.33F)
            ASSERT_EQ(y[i], 0.0F) << x[i];
        else if (x[i] > 88.72F)
            ASSERT_EQ(y[i], std::numeric_limits<float>::infinity()) << x[i];
        else
            ASSERT_NEAR(y[i], wanted, 4 * epsilon_f32 * wanted) << x[i];  // 2 ulp
    }
    EXPECT_EQ(y[static_cast<std::size_t>(n) - 14], 1.0F);
    Floats positive = y;
    for (float& value : positive)
        if (value < 1e-37F || value > 1e37F) value = 1.0F;
    Floats logarithm(x.size());
    kernel_table("portable")->row_log(logarithm.data(), positive.data(), n);
    for (std::size_t i = 0; i < x.size(); ++i) {
        double const wanted = std::log(static_cast<double>(positive[i]));
        ASSERT_NEAR(logarithm[i], wanted, 4 * epsilon_f32 * std::max(std::abs(wanted), 1e-2)) << positive[i];
    }
    for (char const* const name : other_tables)
        if (KernelTable const* const table = kernel_table(name)) {
            table->row_exp(z.data(), x.data(), n);
            EXPECT_TRUE(same_bits(y, z)) << name;
            table->row_log(z.data(), positive.data(), n);
            EXPECT_TRUE(same_bits(logarithm, z)) << name;
        }
}

TEST(Threads, DoNotChangeProducts) {
    Stream stream(DeviceKind::cpu);
    int const before = omp_get_max_threads();
    std::int64_t const m = 1100, n = 72, k = 64;
    Floats const in = random_floats(m * k, 1), weight = random_floats(n * k, 2), d_out = random_floats(m * n, 3);
    Floats results[3];
    for (int threads = 1; threads <= 3; ++threads) {
        omp_set_num_threads(threads);
        Floats out(static_cast<std::size_t>(m * n)), d_in(in.size()), d_weight(weight.size()),
            d_bias(static_cast<std::size_t>(n));
        linear_forward(view(out, {m, n}), view(in, {m, k}), view(weight, {n, k}), {}, stream);
        linear_backward_input(view(d_in, {m, k}), view(d_out, {m, n}), view(weight, {n, k}), Accumulate::add, stream);
        linear_backward_weight(view(d_weight, {n, k}), view(d_bias, {n}), view(d_out, {m, n}), view(in, {m, k}),
                               Accumulate::add, stream);
        for (Floats const* const part : {&out, &d_in, &d_weight, &d_bias}) append(results[threads - 1], *part);
    }
    omp_set_num_threads(before);
    EXPECT_TRUE(same_bits(results[0], results[1]));
    EXPECT_TRUE(same_bits(results[0], results[2]));
}

TEST(Gemm, TheLibraryKeepsTheDefinedOrderWhereItIsChosen) {
    GemmReport const& report = choose_gemm();
    EXPECT_EQ(report.instruction_set, kernel_table().name);
    EXPECT_EQ(report.way == GemmWay::ordered, !report.reason.empty());
    if (report.way == GemmWay::ordered) GTEST_SKIP() << report.library << ": " << report.reason;
    for (std::int64_t const k : {40, 512, 600, 1024, 1030, 1700})
        for (std::int64_t const n : {33, 64, 190})
            for (std::int64_t const m : {1, 2, 8, 21, 64, 130}) {
                Floats const a = random_floats(m * k, 1), b = random_floats(n * k, 2);
                Floats panels(static_cast<std::size_t>(panel_count(n) * panel_elements(k)));
                pack_panels(panels.data(), b.data(), true, n, k);
                Floats own(static_cast<std::size_t>(m * n)), others = own;
                MatrixProduct x{.c = own.data(), .a = a.data(), .panels = panels.data(), .m = m, .n = n, .k = k};
                ordered_product(x);
                x.c = others.data();
                ASSERT_TRUE(library_product(x));
                ASSERT_TRUE(same_bits(own, others)) << m << " " << n << " " << k;
            }
}

}  // namespace
}  // namespace selvage::kernels
