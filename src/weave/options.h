// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace selvage::weave {

enum class BashDraft : std::uint8_t { forced, mixed, free };
enum class BashSchedule : std::uint8_t { constant, linear, exponential, inverse_sigmoid };
enum class BashUnit : std::uint8_t { token, span };
enum class RacKeep : std::uint8_t { all, wrong, wrong_some };
enum class RacScore : std::uint8_t { exact, rouge_l, token_f1 };
enum class RacTruncated : std::uint8_t { keep, drop };
enum class RacOverflow : std::uint8_t { cut, drop };
enum class WeaveMethod : std::uint8_t { none, bash, rac, both };

struct BashOptions {
    BashDraft draft = BashDraft::forced;
    std::int64_t passes = 1;
    BashSchedule schedule = BashSchedule::constant;
    double rate = 0.25;
    double rate_start = 0;
    double rate_end = 0.5;
    double k = 0;  // 0: the schedule's default (exponential 0.05, inverse-sigmoid 10)
    BashUnit unit = BashUnit::token;
    double span_mean = 4;
    double temperature = 1;
    double top_p = 1;
    std::int64_t top_k = 0;
    std::string special = "gold";  // own special tokens become gold; the only choice so far
    double gold_weight = 0;
};
struct RacOptions {
    std::string marker = "\n\nCorrection:\n";  // deck key weave.rac.template
    RacKeep keep = RacKeep::all;
    RacScore score = RacScore::rouge_l;
    double threshold = 1;
    double right_fraction = 0.25;
    RacTruncated truncated = RacTruncated::keep;
    RacOverflow overflow = RacOverflow::cut;
    double gold_weight = 0;
};
struct WeaveOptions {
    std::vector<WeaveMethod> method = {WeaveMethod::none};  // one per round, the last repeated
    double rac_fraction = 0.5;                              // method = both: share of examples that go to RAC
    BashOptions bash;
    RacOptions rac;
    WeaveMethod method_of(std::int64_t round) const;  // round counts from 1
};

}  // namespace selvage::weave
