// SPDX-License-Identifier: Apache-2.0
#include "evaluate/example_scores.h"

#include "base/bytes.h"

namespace selvage {
namespace {

constexpr auto answer_fields = [](auto& stream, auto& score) {
    for (auto* field : {&score.exact, &score.rouge1, &score.rouge2, &score.rougeL}) stream.value(*field);
};

constexpr auto prefix_fields = [](auto& stream, auto& score) {
    stream.value(score.counts);
    for (auto* field : {&score.gold_agreement, &score.own_agreement, &score.gold_nll, &score.own_nll})
        stream.value(*field);
    for (auto* field : {&score.gold_tokens, &score.own_tokens}) stream.value(*field);
};

constexpr auto example_fields = [](auto& stream, auto& scores) {
    stream.value(scores.example);
    stream.list(scores.forced_nll);
    stream.list(scores.own_nll);
    stream.value(scores.forced_correct);
    for (auto* field : {&scores.forced_agreement, &scores.free_agreement, &scores.sampled_agreement,
                        &scores.chance_agreement, &scores.numeric_gap, &scores.numeric_gap_sum})
        stream.value(*field);
    stream.list(scores.prefixes, prefix_fields);
    stream.list(scores.turns, answer_fields);
    for (auto* field : {&scores.numeric_tokens, &scores.generated_tokens, &scores.scored_tokens}) stream.value(*field);
};

}  // namespace

std::vector<std::byte> encode_scores(std::span<ExampleScores const> scores) {
    ByteWriter writer;
    for (ExampleScores const& one : scores) example_fields(writer, one);
    return {writer.bytes().begin(), writer.bytes().end()};
}

std::vector<ExampleScores> decode_scores(std::span<std::byte const> bytes) {
    ByteReader reader(bytes);
    std::vector<ExampleScores> out;
    while (!reader.at_end()) example_fields(reader, out.emplace_back());
    return out;
}

}  // namespace selvage
