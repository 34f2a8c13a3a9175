// SPDX-License-Identifier: Apache-2.0
#include "evaluate/example_scores.h"

#include <cstring>

#include "base/error.h"

namespace selvage {
namespace {

// The same list of fields serves both directions.
class Writer {
  public:
    template <class T>
    void value(T const& number) {
        auto const* const from = reinterpret_cast<std::byte const*>(&number);
        bytes.insert(bytes.end(), from, from + sizeof(T));
    }
    template <class T, class Each>
    void list(std::vector<T> const& items, Each&& each) {
        value(static_cast<std::int64_t>(items.size()));
        for (T const& item : items) each(*this, item);
    }
    std::vector<std::byte> bytes;
};

class Reader {
  public:
    explicit Reader(std::span<std::byte const> bytes) : rest_(bytes) {}
    template <class T>
    void value(T& number) {
        SELVAGE_CHECK(rest_.size() >= sizeof(T), "message of scores ends early");
        std::memcpy(&number, rest_.data(), sizeof(T));
        rest_ = rest_.subspan(sizeof(T));
    }
    template <class T, class Each>
    void list(std::vector<T>& items, Each&& each) {
        std::int64_t count = 0;
        value(count);
        SELVAGE_CHECK(count >= 0 && static_cast<std::size_t>(count) <= rest_.size(), "message of scores is damaged");
        items.resize(static_cast<std::size_t>(count));
        for (T& item : items) each(*this, item);
    }
    bool at_end() const { return rest_.empty(); }

  private:
    std::span<std::byte const> rest_;
};

constexpr auto number = [](auto& stream, auto& value) { stream.value(value); };

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
    stream.list(scores.forced_nll, number);
    stream.list(scores.own_nll, number);
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
    Writer writer;
    for (ExampleScores const& one : scores) example_fields(writer, one);
    return std::move(writer.bytes);
}

std::vector<ExampleScores> decode_scores(std::span<std::byte const> bytes) {
    Reader reader(bytes);
    std::vector<ExampleScores> out;
    while (!reader.at_end()) example_fields(reader, out.emplace_back());
    return out;
}

}  // namespace selvage
