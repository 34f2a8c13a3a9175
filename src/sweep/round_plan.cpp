// SPDX-License-Identifier: Apache-2.0
#include "sweep/round_plan.h"

#include <algorithm>
#include <unordered_set>

namespace selvage {
namespace {

// Input tokens that an example brings to the training sweep, about.
double expected_tokens(JobOptions const& options, weave::WeaveMethod method, std::int64_t prompt, std::int64_t answer,
                       std::int64_t marker_tokens) {
    auto const& w = options.weave;
    auto const samples = static_cast<double>(options.generate.samples);
    double const plain = static_cast<double>(prompt + answer - 1);
    double const bash = samples * plain + (w.bash.gold_weight > 0 ? plain : 0);
    double const draft = static_cast<double>(std::min(answer, options.generate.max_new_tokens));
    double const rac = samples * std::min(static_cast<double>(options.data.context),
                                          plain + draft + static_cast<double>(marker_tokens)) +
                       (w.rac.gold_weight > 0 ? plain : 0);
    switch (method) {
        case weave::WeaveMethod::none:
            return plain;
        case weave::WeaveMethod::bash:
            return bash;
        case weave::WeaveMethod::rac:
            return rac;
        case weave::WeaveMethod::both:
            return w.rac_fraction * rac + (1 - w.rac_fraction) * bash;
    }
    return plain;
}

}  // namespace

RoundExamples round_examples(Corpus const& train, JobOptions const& options, weave::WeaveMethod method,
                             std::int64_t cursor, std::int64_t marker_tokens) {
    RoundExamples round;
    std::unordered_set<std::int64_t> taken;  // a round that crosses the end of an epoch may meet an example twice
    double const wanted_tokens = static_cast<double>(options.train.steps_per_round * options.train.batch_tokens);
    double tokens = 0;
    while (static_cast<std::int64_t>(taken.size()) < train.size()) {
        bool const enough = options.generate.examples > 0
                                ? static_cast<std::int64_t>(taken.size()) >= options.generate.examples
                                : tokens >= wanted_tokens;
        if (enough) break;
        std::int64_t const i = ordered_example(cursor++, train.size(), options.run.seed);
        if (!taken.insert(i).second) continue;
        tokens += expected_tokens(options, method, train.prompt_tokens(i), train.answer_tokens(i), marker_tokens);
        round.examples.push_back(train.example(i));
    }
    round.next_cursor = cursor;
    return round;
}

std::int64_t total_steps(JobOptions const& options, std::int64_t schedule_rounds) {
    return schedule_rounds * options.train.steps_per_round;
}

}  // namespace selvage
