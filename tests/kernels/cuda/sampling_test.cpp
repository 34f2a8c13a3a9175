// SPDX-License-Identifier: Apache-2.0
#include "kernels/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/cuda/emulated.h"
#include "kernels/numbers.h"

namespace selvage::kernels {
namespace {

using test::emulated;
using test::emulated_stream;
using test::Floats;
using test::random_floats;
using test::same_bits;
using test::view;

__extension__ using Wide = unsigned __int128;
constexpr float infinity = std::numeric_limits<float>::infinity();

struct Results {
    std::vector<std::int32_t> tokens;
    Floats log_probability, log_sum_exp;
};

Results sampled(TensorView logits, std::int64_t ids, std::vector<Sampling> const& rows) {
    Results r{std::vector<std::int32_t>(rows.size(), -7), Floats(rows.size(), -7), Floats(rows.size(), -7)};
    auto const count = static_cast<std::int64_t>(rows.size());
    emulated().sample(view(r.tokens), view(r.log_probability, {count}), view(r.log_sum_exp, {count}), logits, ids, rows,
                      emulated_stream());
    return r;
}

// The header's definition, step by step, with a sorted list; the weights by the kernel's own operations.
struct Plain {
    std::int32_t token;
    float log_probability;
};
Plain plain(float const* logits, std::int64_t ids, Sampling const& options) {
    auto const n = static_cast<std::size_t>(ids);
    float const max = *std::max_element(logits, logits + n);
    auto const temperature = static_cast<float>(options.temperature);
    if (temperature == 0) return {static_cast<std::int32_t>(std::find(logits, logits + n, max) - logits), 0};
    std::vector<std::int64_t> weights(n);
    for (std::size_t i = 0; i < n; ++i)
        weights[i] = static_cast<std::int64_t>(expf((logits[i] - max) / temperature) * 0x1p40F);
    std::vector<std::size_t> order(n);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return weights[a] > weights[b]; });
    auto const total = [&] {
        return std::accumulate(order.begin(), order.end(), std::int64_t{0},
                               [&](std::int64_t sum, std::size_t i) { return sum + weights[i]; });
    };
    if (options.top_k > 0 && options.top_k < ids) order.resize(static_cast<std::size_t>(options.top_k));
    if (options.top_p < 1) {
        auto const fraction = static_cast<std::uint64_t>(std::ldexp(options.top_p, 64));
        Wide const share = Wide{fraction} * static_cast<std::uint64_t>(total());
        std::int64_t sum = 0;
        std::size_t kept = 0;  // at least one
        while (kept == 0 || (Wide{static_cast<std::uint64_t>(sum)} << 64) < share) sum += weights[order[kept++]];
        order.resize(kept);
    }
    std::int64_t const all = total();
    auto target = static_cast<std::int64_t>(Wide{options.bits} * static_cast<std::uint64_t>(all) >> 64);
    std::sort(order.begin(), order.end());
    for (std::size_t const i : order) {
        target -= weights[i];
        if (target < 0)
            return {static_cast<std::int32_t>(i),
                    static_cast<float>(std::log(static_cast<double>(weights[i]) / static_cast<double>(all)))};
    }
    ADD_FAILURE() << "nothing to draw";
    return {-1, 0};
}

void expect_plain_draws(Floats const& logits, std::int64_t vocabulary, std::int64_t ids,
                        std::vector<Sampling> const& rows) {
    auto const count = static_cast<std::int64_t>(rows.size());
    TensorView const x = view(logits, {count, vocabulary});
    Results const got = sampled(x, ids, rows);
    Floats sums(rows.size());
    emulated().log_sum_exp(view(sums, {count}), x, emulated_stream());
    EXPECT_TRUE(same_bits(sums, got.log_sum_exp));
    for (std::size_t row = 0; row < rows.size(); ++row) {
        Plain const wanted = plain(logits.data() + static_cast<std::int64_t>(row) * vocabulary, ids, rows[row]);
        ASSERT_EQ(got.tokens[row], wanted.token)
            << "row " << row << " of " << ids << " ids, temperature " << rows[row].temperature << ", top_k "
            << rows[row].top_k << ", top_p " << rows[row].top_p << ", bits " << rows[row].bits;
        ASSERT_EQ(got.log_probability[row], wanted.log_probability);
    }
}

// Rows that differ in everything.
std::vector<Sampling> many_rows(std::int64_t ids) {
    std::vector<Sampling> rows;
    Random const random(7, Purpose::test);
    std::vector<double> const temperatures = test::tiny ? std::vector<double>{0.7} : std::vector<double>{0.7, 1e3};
    for (double const temperature : temperatures)
        for (std::int64_t const top_k : {std::int64_t{0}, std::int64_t{1}, ids / 2, ids - 1, ids + 3})
            for (double const top_p : {1.0, 0.9, 0.25, 0.0}) {
                if (test::tiny && top_k > 0 && top_p < 0.9) continue;
                auto const i = static_cast<std::uint32_t>(rows.size());
                std::uint64_t const bits = i % 7 == 3 ? 0 : i % 7 == 5 ? ~std::uint64_t{0} : random.bits({3, i, 0});
                rows.push_back({temperature, top_p, top_k, bits});
            }
    rows.push_back({0, 1, 0, 5});
    rows.push_back({1e-60, 0.5, 3, 5});  // 0 as a float
    rows.push_back({1e-7, 0.9, 20, random.bits({3, 99, 0})});
    return rows;
}

TEST(EmulatedSampling, DrawsByThePlainDefinition) {
    std::vector<std::int64_t> vocabularies{1, 17};
    if constexpr (!test::tiny) vocabularies.insert(vocabularies.end(), {3, 1025});
    for (std::int64_t const n : vocabularies)
        for (std::int64_t const ids : {n, (n + 1) / 2}) {
            std::vector<Sampling> const rows = many_rows(ids);
            Floats logits = random_floats(static_cast<std::int64_t>(rows.size()) * n, 1, 8);
            expect_plain_draws(logits, n, ids, rows);
            for (float& x : logits) x = std::floor(x / 2);  // many are equal
            expect_plain_draws(logits, n, ids, rows);
            if (n > 100) break;
        }
}

// More equal weights than are listed; and, with many ids, larger blocks and a bound below which nothing is looked at.
TEST(EmulatedSampling, ManyIds) {
    std::vector<Sampling> const two = {{1, 0.5, 0, 77}, {1, 1, 500, 77}};
    expect_plain_draws(random_floats(2 * 1030, 5, 15), 1030, 1030, two);  // two vocabulary blocks
    if constexpr (test::tiny) return;
    std::vector<Sampling> const rows = {
        {1, 0.5, 0, ~std::uint64_t{0}}, {1, 1, 2500, ~std::uint64_t{0}}, {1, 0.5, 2500, 77}, {1, 1, 0, 77}};
    expect_plain_draws(Floats(4 * 5003, 2.5F), 5003, 5003, rows);
    expect_plain_draws(random_floats(4 * 20004, 5, 15), 20004, 20001, rows);
}

TEST(EmulatedSampling, RowsDoNotDependOnTheBatch) {
    std::int64_t const n = test::tiny ? 40 : 1500;
    std::vector<Sampling> const rows = {{1, 1, 0, 5}, {0.7, 0.8, 30, std::uint64_t{1} << 63}, {1.3, 0.9, 0, 9}};
    Floats const logits = random_floats(3 * n, 4, 8);
    Results const all = sampled(view(logits, {3, n}), n, rows);
    for (std::size_t row = 0; row < 3; ++row) {
        auto const at = static_cast<std::int64_t>(row);
        Results const one = sampled(view(logits, {3, n}).rows(at, at + 1), n, {rows[row]});
        EXPECT_EQ(one.tokens[0], all.tokens[row]);
        EXPECT_EQ(one.log_probability[0], all.log_probability[row]);
        EXPECT_EQ(one.log_sum_exp[0], all.log_sum_exp[row]);
    }
}

TEST(EmulatedSampling, WhereThereIsNothingToDraw) {
    Floats logits = {-infinity, -infinity, NAN, 1, 1, infinity, -infinity, 2};
    std::vector<Sampling> const rows(4);
    Results const got = sampled(view(logits, {4, 2}), 2, rows);
    EXPECT_EQ(got.tokens, (std::vector<std::int32_t>{0, 0, 0, 1}));
    EXPECT_EQ(got.log_probability, Floats(4));
    EXPECT_EQ(got.log_sum_exp[0], -infinity);
    EXPECT_TRUE(std::isnan(got.log_sum_exp[1]));
    EXPECT_FALSE(std::isfinite(got.log_sum_exp[2]));
    EXPECT_EQ(got.log_sum_exp[3], 2);
    // Without log-sum-exp the CPU refuses it; a token that is none is all that can be said here.
    std::vector<std::int32_t> token = {7};
    Floats log_probability = {7};
    emulated().sample(view(token), view(log_probability, {1}), {}, view(logits, {4, 2}).rows(0, 1), 2,
                      std::span(rows).first(1), emulated_stream());
    EXPECT_EQ(token[0], -1);
    emulated().sample(view(std::vector<std::int32_t>{}), view(Floats{}, {0}), {}, view(logits, {4, 2}).rows(0, 0), 2,
                      {}, emulated_stream());
}

}  // namespace
}  // namespace selvage::kernels
