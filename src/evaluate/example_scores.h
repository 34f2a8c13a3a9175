// SPDX-License-Identifier: Apache-2.0
#pragma once
// What an evaluation sweep keeps of one held-out example: plain numbers, made by the rank that took the example and
// sent to rank 0.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace selvage {

// One answer of the correction chain against gold.
struct AnswerScore {
    double exact = 0;  // 1: right by the extraction rule
    double rouge1 = 0;
    double rouge2 = 0;
    double rougeL = 0;
    bool operator==(AnswerScore const&) const = default;
};

// Lengths l of the prefix exchange: prefix, 2 prefix, ... of evaluate.prefix.
constexpr std::int64_t prefix_lengths = 4;

// Prefix exchange at one length l: greedy continuations after l gold tokens and after l own tokens. Not counted where
// the gold answer has no text behind l, or the own answer is shorter than l.
struct PrefixScore {
    bool counts = false;
    double gold_agreement = 0;  // of the continuation with the rest of the gold answer
    double own_agreement = 0;
    double gold_nll = 0;  // of the continuation's own tokens, summed
    double own_nll = 0;
    std::int64_t gold_tokens = 0;  // of the continuation, end-of-answer included
    std::int64_t own_tokens = 0;
    bool operator==(PrefixScore const&) const = default;
};

struct ExampleScores {
    std::int64_t example = 0;         // row in the data
    std::vector<double> forced_nll;   // -log p(y_t | x, y_<t), t = 1..T
    std::vector<double> own_nll;      // -log p(y_t | x, own_<t), t = 1..min(T, own tokens + 1)
    std::int64_t forced_correct = 0;  // positions whose argmax is gold
    double forced_agreement = 0;
    double free_agreement = 0;
    double sampled_agreement = 0;
    double chance_agreement = 0;  // NaN: there is no other example
    std::vector<PrefixScore> prefixes;
    std::vector<AnswerScore> turns;  // the first answer, then after every correction turn
    double numeric_gap = 0;          // largest over the drafts' tokens
    double numeric_gap_sum = 0;
    std::int64_t numeric_tokens = 0;
    std::int64_t generated_tokens = 0;
    std::int64_t scored_tokens = 0;
};

// Back and forth through bytes, for messages between ranks of one job.
std::vector<std::byte> encode_scores(std::span<ExampleScores const> scores);
std::vector<ExampleScores> decode_scores(std::span<std::byte const> bytes);

}  // namespace selvage
