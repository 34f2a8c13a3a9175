// SPDX-License-Identifier: Apache-2.0
#include "evaluate/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "evaluate/bootstrap.h"
#include "evaluate/position_bins.h"

namespace selvage {
namespace {

using Scores = std::span<ExampleScores const>;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

double sum(std::span<double const> values) {
    double total = 0;
    for (double const value : values) total += value;
    return total;
}

struct Part {
    double numerator = 0;
    double denominator = 0;
};
Part mean_of(double value) { return std::isnan(value) ? Part{} : Part{value, 1}; }
Part rate_of(bool counts, bool happened) { return {counts && happened ? 1.0 : 0.0, counts ? 1.0 : 0.0}; }

// The metrics with intervals, in the order they are added.
class Table {
  public:
    explicit Table(Scores scores) : scores_(scores) {}

    template <class PartOf>
    void add(std::string name, PartOf&& part_of) {
        RatioSeries series;
        for (ExampleScores const& one : scores_) {
            Part const part = part_of(one);
            series.numerator.push_back(part.numerator);
            series.denominator.push_back(part.denominator);
        }
        names_.push_back(std::move(name));
        series_.push_back(std::move(series));
    }

    std::map<std::string, io::MetricValue> estimate(std::uint64_t seed) const {
        auto const estimates = bootstrap_ratios(series_, static_cast<std::int64_t>(scores_.size()), seed);
        std::map<std::string, io::MetricValue> out;
        for (std::size_t s = 0; s < names_.size(); ++s)
            out[names_[s]] = {estimates[s].value, estimates[s].low, estimates[s].high, {}, {}};
        return out;
    }

  private:
    Scores scores_;
    std::vector<std::string> names_;
    std::vector<RatioSeries> series_;
};

// A curve: value[b] = sum over the examples of numerator / denominator, and how many examples have a denominator.
class Curve {
  public:
    explicit Curve(std::int64_t points)
        : sums_(static_cast<std::size_t>(points)), counts_(static_cast<std::size_t>(points)) {}
    void add(std::size_t point, Part part) {
        sums_[point].numerator += part.numerator;
        sums_[point].denominator += part.denominator;
        counts_[point] += part.denominator > 0;
    }
    void store(io::MetricValue& metric) const {
        for (Part const& point : sums_)
            metric.by_position.push_back(point.denominator > 0 ? point.numerator / point.denominator : nan);
        metric.count_by_position = counts_;
    }

  private:
    std::vector<Part> sums_;
    std::vector<std::int64_t> counts_;
};

// own - gold at the positions of the own context.
std::vector<double> context_differences(ExampleScores const& one) {
    std::vector<double> out;
    for (std::size_t t = 0; t < one.own_nll.size(); ++t) out.push_back(one.own_nll[t] - one.forced_nll[t]);
    return out;
}

void add_token_metrics(Table& table) {
    auto const per_token = [](double total, std::size_t tokens) { return Part{total, static_cast<double>(tokens)}; };
    table.add("forced_nll", [&](auto& one) { return per_token(sum(one.forced_nll), one.forced_nll.size()); });
    table.add("forced_accuracy",
              [&](auto& one) { return per_token(static_cast<double>(one.forced_correct), one.forced_nll.size()); });
    table.add("context_gap", [&](auto& one) { return per_token(sum(context_differences(one)), one.own_nll.size()); });
    table.add("numeric_gap_mean",
              [&](auto& one) { return per_token(one.numeric_gap_sum, static_cast<std::size_t>(one.numeric_tokens)); });
}

void add_agreements(Table& table) {
    table.add("forced_agreement", [](auto& one) { return mean_of(one.forced_agreement); });
    table.add("free_agreement", [](auto& one) { return mean_of(one.free_agreement); });
    table.add("free_agreement_sampled", [](auto& one) { return mean_of(one.sampled_agreement); });
    table.add("chance_agreement", [](auto& one) { return mean_of(one.chance_agreement); });
    table.add("gap", [](auto& one) { return mean_of(one.forced_agreement - one.free_agreement); });
}

struct PrefixMetric {
    char const* name;
    double (*value)(PrefixScore const&);
};
double gold_mean_nll(PrefixScore const& p) { return p.gold_nll / static_cast<double>(p.gold_tokens); }
double own_mean_nll(PrefixScore const& p) { return p.own_nll / static_cast<double>(p.own_tokens); }
constexpr PrefixMetric prefix_metrics[] = {
    {"prefix_agreement_gold", [](PrefixScore const& p) { return p.gold_agreement; }},
    {"prefix_agreement_own", [](PrefixScore const& p) { return p.own_agreement; }},
    {"prefix_nll_gold", gold_mean_nll},
    {"prefix_nll_own", own_mean_nll},
    {"prefix_shift", [](PrefixScore const& p) { return p.gold_agreement - p.own_agreement; }},
    {"prefix_shift_nll", [](PrefixScore const& p) { return own_mean_nll(p) - gold_mean_nll(p); }},
};

Part prefix_part(PrefixMetric const& metric, PrefixScore const& prefix) {
    return prefix.counts ? mean_of(metric.value(prefix)) : Part{};
}

void add_prefix_metrics(Table& table) {
    for (PrefixMetric const& metric : prefix_metrics)
        table.add(metric.name,
                  [&](auto& one) { return one.prefixes.empty() ? Part{} : prefix_part(metric, one.prefixes.front()); });
}

void add_answer_metrics(Table& table, std::int64_t turns) {
    for (std::size_t turn = 0; turn <= static_cast<std::size_t>(turns); ++turn) {
        std::string const suffix = turn == 0 ? "" : fmt::format("_turn{}", turn);
        table.add("exact_match" + suffix, [=](auto& one) { return mean_of(one.turns[turn].exact); });
        table.add("rouge1" + suffix, [=](auto& one) { return mean_of(one.turns[turn].rouge1); });
        table.add("rouge2" + suffix, [=](auto& one) { return mean_of(one.turns[turn].rouge2); });
        table.add("rougeL" + suffix, [=](auto& one) { return mean_of(one.turns[turn].rougeL); });
    }
}

// Transitions into the turns first..last.
void add_rates(Table& table, std::string const& suffix, std::size_t first, std::size_t last, double right_rougeL) {
    auto const right = [=](AnswerScore const& answer) {
        return right_rougeL > 0 ? answer.rougeL >= right_rougeL : answer.exact != 0;
    };
    auto const rate = [=](bool before, bool after) {
        return [=](ExampleScores const& one) {
            Part total;
            for (std::size_t turn = first; turn <= last; ++turn) {
                Part const part = rate_of(right(one.turns[turn - 1]) == before, right(one.turns[turn]) == after);
                total.numerator += part.numerator;
                total.denominator += part.denominator;
            }
            return total;
        };
    };
    table.add("correction_rate" + suffix, rate(false, true));
    table.add("corruption_rate" + suffix, rate(true, false));
}

void add_position_curves(std::map<std::string, io::MetricValue>& metrics, Scores scores, std::int64_t bins) {
    PositionBins const position_bins(bins);
    auto const curve_of = [&](auto&& values_of) {
        Curve curve(bins);
        for (ExampleScores const& one : scores) {
            std::vector<Part> parts(static_cast<std::size_t>(bins));
            std::vector<double> const values = values_of(one);
            for (std::size_t t = 0; t < values.size(); ++t) {
                Part& part = parts[static_cast<std::size_t>(position_bins.bin_of(static_cast<std::int64_t>(t)))];
                part.numerator += values[t];
                part.denominator += 1;
            }
            for (std::size_t b = 0; b < parts.size(); ++b) curve.add(b, parts[b]);
        }
        return curve;
    };
    curve_of([](ExampleScores const& one) { return one.forced_nll; }).store(metrics.at("forced_nll"));
    curve_of(context_differences).store(metrics.at("context_gap"));
}

void add_prefix_curves(std::map<std::string, io::MetricValue>& metrics, Scores scores, std::int64_t prefixes) {
    for (PrefixMetric const& metric : prefix_metrics) {
        Curve curve(prefixes);
        for (ExampleScores const& one : scores)
            for (std::size_t k = 0; k < one.prefixes.size(); ++k) curve.add(k, prefix_part(metric, one.prefixes[k]));
        curve.store(metrics.at(metric.name));
    }
}

// NaN where no token was compared, and where a compared number is NaN.
double largest_numeric_gap(Scores scores) {
    double largest = -1;
    for (ExampleScores const& one : scores) {
        if (one.numeric_tokens == 0) continue;
        if (std::isnan(one.numeric_gap)) return nan;
        largest = std::max(largest, one.numeric_gap);
    }
    return largest < 0 ? nan : largest;
}

}  // namespace

std::map<std::string, io::MetricValue> aggregate_scores(Scores scores, std::int64_t bins, std::int64_t prefixes,
                                                        std::int64_t turns, double right_rougeL, std::uint64_t seed) {
    Table table(scores);
    add_token_metrics(table);
    add_agreements(table);
    add_prefix_metrics(table);
    add_answer_metrics(table, turns);
    auto const last = static_cast<std::size_t>(turns);
    add_rates(table, "", 1, last, right_rougeL);
    for (std::size_t turn = 1; turn <= last; ++turn)
        add_rates(table, fmt::format("_turn{}", turn), turn, turn, right_rougeL);

    auto metrics = table.estimate(seed);
    add_position_curves(metrics, scores, bins);
    add_prefix_curves(metrics, scores, prefixes);
    double const largest = largest_numeric_gap(scores);
    metrics["numeric_gap"] = {largest, largest, largest, {}, {}};
    return metrics;
}

}  // namespace selvage
