// SPDX-License-Identifier: Apache-2.0
#include "weave/bash.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "weave/row.h"

namespace selvage::weave {
namespace {

// The falling shape f(s) with f(0) = 1 and f(1) = 0.
double shape(BashOptions const& options, double s) {
    switch (options.schedule) {
        case BashSchedule::exponential: {
            double const k = options.k == 0 ? 0.05 : options.k;
            if (!(k > 0 && k < 1))
                fail(ExitCode::bad_data,
                     "weave.bash.k = {} does not fit weave.bash.schedule = \"exponential\"; give 0 < k < 1", k);
            return (std::pow(k, s) - k) / (1 - k);
        }
        case BashSchedule::inverse_sigmoid: {
            double const k = options.k == 0 ? 10 : options.k;
            if (!(k > 0))
                fail(ExitCode::bad_data,
                     "weave.bash.k = {} does not fit weave.bash.schedule = \"inverse-sigmoid\"; give k > 0", k);
            auto const h = [k](double at) { return 1 / (1 + std::exp(k * (at - 0.5))); };
            return (h(s) - h(1)) / (h(0) - h(1));
        }
        default:
            return 1 - s;
    }
}

// What is read at answer positions 1..T-1.
Strand mix(std::span<Token const> gold, std::span<Token const> own, std::span<std::uint8_t const> coins,
           SpecialTokens const& special, std::int64_t* special_count) {
    std::size_t const positions = gold.empty() ? 0 : gold.size() - 1;
    SELVAGE_CHECK(coins.size() == positions, "{} coins for {} positions", coins.size(), positions);
    Strand strand;
    for (std::size_t i = 0; i < positions; ++i) {
        bool use_own = coins[i] != 0 && i < own.size();
        if (use_own && special.contains(own[i])) {
            use_own = false;
            if (special_count != nullptr) ++*special_count;
        }
        strand.append(use_own ? own[i] : gold[i], use_own ? Origin::generated : Origin::gold);
    }
    return strand;
}

}  // namespace

double schedule_progress(std::int64_t round, std::int64_t schedule_rounds) {
    double const last = static_cast<double>(std::max<std::int64_t>(1, schedule_rounds - 1));
    return std::clamp(static_cast<double>(round - 1) / last, 0.0, 1.0);
}

double bash_rate(BashOptions const& options, double progress) {
    if (options.schedule == BashSchedule::constant) return options.rate;
    // lerp is exact at both ends.
    return std::lerp(options.rate_end, options.rate_start, shape(options, std::clamp(progress, 0.0, 1.0)));
}

std::vector<std::uint8_t> bash_coins(BashOptions const& options, std::uint64_t seed, std::int64_t round,
                                     double progress, std::int64_t example, std::int32_t sample,
                                     std::int64_t answer_length) {
    double const e = bash_rate(options, progress);
    bool const spans = options.unit == BashUnit::span;
    double const m = options.span_mean;
    double const enter = e / (m * (1 - e));
    double const rounding = 1e-12;  // e = m/(m + 1) as written in a deck is allowed
    if (spans && !(m >= 1 && enter <= 1 + rounding))
        fail(ExitCode::bad_data,
             "weave.bash.unit = \"span\": own tokens in spans of mean length {} (weave.bash.span_mean) cannot be a "
             "share of {} (weave.bash.rate) of the answer, the most is {:.3g}; lower the rate or lengthen the spans",
             m, e, m / (m + 1));

    Random const random(seed, Purpose::bash_coin);
    std::vector<std::uint8_t> coins;
    bool own = false;
    for (std::int64_t t = 1; t < answer_length; ++t) {
        double const u = random.uniform({static_cast<std::uint32_t>(round), static_cast<std::uint32_t>(example),
                                         static_cast<std::uint32_t>(t), static_cast<std::uint16_t>(sample)});
        if (!spans || t == 1)
            own = u < e;
        else if (own)
            own = !(u < 1 / m);
        else
            own = u < enter;
        coins.push_back(own ? 1 : 0);
    }
    return coins;
}

std::vector<Token> bash_mix(std::span<Token const> gold, std::span<Token const> own,
                            std::span<std::uint8_t const> coins, SpecialTokens const& special,
                            std::int64_t* special_count) {
    return mix(gold, own, coins, special, special_count).tokens;
}

Woven weave_bash(Example const& example, std::int32_t sample, std::span<Token const> own,
                 std::span<std::uint8_t const> coins, SpecialTokens const& special, std::int64_t* special_count) {
    return make_row(example, sample, Method::bash, {}, mix(example.answer, own, coins, special, special_count), 1);
}

Woven weave_plain(Example const& example, std::int32_t sample, float weight) {
    std::vector<std::uint8_t> const coins(example.answer.empty() ? 0 : example.answer.size() - 1, 0);
    return make_row(example, sample, Method::none, {}, mix(example.answer, {}, coins, {}, nullptr), weight);
}

}  // namespace selvage::weave
