// SPDX-License-Identifier: Apache-2.0
#include "sweep/summary.h"

#include <fmt/core.h>

#include <cmath>

namespace selvage {
namespace {

std::string cell(double value) {
    return std::isfinite(value) ? fmt::format("{:>9.4f}", value) : fmt::format("{:>9}", "-");
}

// Mean training loss of a round, NaN where it has no steps.
double round_loss(io::RunLog const& log, std::int64_t round) {
    double sum = 0;
    std::int64_t steps = 0;
    for (io::StepRow const& step : log.steps()) {
        if (step.round != round) continue;
        sum += step.loss;
        ++steps;
    }
    return steps == 0 ? NAN : sum / static_cast<double>(steps);
}

}  // namespace

std::string name_of(weave::WeaveMethod method) {
    switch (method) {
        case weave::WeaveMethod::none:
            return "none";
        case weave::WeaveMethod::bash:
            return "bash";
        case weave::WeaveMethod::rac:
            return "rac";
        case weave::WeaveMethod::both:
            return "both";
    }
    return "?";
}

std::string evaluation_text(io::EvaluationRow const& row) {
    std::string text;
    for (char const* const name : {"forced_nll", "validation_nll", "forced_agreement", "free_agreement", "gap"})
        if (auto const found = row.metrics.find(name); found != row.metrics.end())
            text += fmt::format("{}{} {:.4f}", text.empty() ? "" : ", ", name, found->second.value);
    return text;
}

std::string summary_table(io::RunLog const& log, weave::WeaveOptions const& options) {
    constexpr char const* metrics[] = {"forced_nll", "forced_accuracy", "forced_agreement", "free_agreement",
                                       "gap",        "rougeL",          "correction_rate"};
    std::string text = fmt::format("{:>5} {:>6} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}\n", "round", "method",
                                   "loss", "nll", "accuracy", "forced", "free", "gap", "ROUGE-L", "corrected");
    for (io::EvaluationRow const& row : log.evaluations()) {
        text += fmt::format("{:>5} {:>6} {}", row.round, row.round == 0 ? "-" : name_of(options.method_of(row.round)),
                            cell(round_loss(log, row.round)));
        for (char const* const metric : metrics) {
            auto const found = row.metrics.find(metric);
            text += " " + cell(found == row.metrics.end() ? NAN : found->second.value);
        }
        text += "\n";
    }
    text +=
        "loss: mean training loss of the round; nll, accuracy: next token on gold context; forced, free: agreement "
        "with gold (LCS F1)\n"
        "of predictions on gold context and of the model's own text; gap = forced - free; corrected: right after a "
        "correction turn,\n"
        "of those wrong before it. All on held-out examples; intervals are in run.h5.\n";
    return text;
}

}  // namespace selvage
