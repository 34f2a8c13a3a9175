// SPDX-License-Identifier: Apache-2.0
// A token's logits are the same bits however its sequence was run: whole, in chunks, token by token, alone or among
// others, in any pages, with plain or packed weights, in a training or an inference workspace.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/softmax.h"
#include "model/small_model.h"

namespace selvage::test {
namespace {

constexpr std::int64_t page_tokens = kernels::kv_page_tokens;

// One sequence that is being run: how far it is, and the pages that it owns.
struct Running {
    Tokens tokens;
    std::vector<std::int32_t> pages;
    std::int64_t done = 0;
    std::vector<float> logits;  // of all positions so far
};

// Runs sequences in any pieces on one cache, whose unwritten part is NaN.
class Runner {
  public:
    Runner(SmallModel& small, std::int64_t rows, std::int64_t pages, Keep keep)
        : small_(small),
          cache_(small.arena, small.model, pages),
          workspace_(small.arena, small.model, rows, keep),
          logits_(small.arena, "logits", DType::f32, {rows, small.model.config().vocabulary}) {
        for (std::int64_t layer = 0; layer < small.model.config().layers; ++layer) {
            TensorView const view = cache_.layer(layer).pages;
            std::memset(view.raw(), 0xff, static_cast<std::size_t>(view.elements()) * size_of(view.dtype()));
        }
        for (std::int64_t page = 0; page < pages; ++page) free_.push_back(static_cast<std::int32_t>(page));
    }

    // Pages are handed out from the last to the first, one of each sequence after the other.
    Running begin(Tokens tokens) {
        Running running;
        running.tokens = std::move(tokens);
        return running;
    }

    // The next `counts[i]` tokens of sequence i, in one forward pass. With `logit_call` rows per call of logits().
    void step(std::vector<Running*> const& sequences, std::vector<std::int64_t> const& counts,
              std::int64_t logit_call = 1 << 20) {
        Tokens tokens, positions;
        std::vector<kernels::AttentionSegment> segments;
        for (std::size_t i = 0; i < sequences.size(); ++i) {
            Running& sequence = *sequences[i];
            std::int64_t const count =
                std::min(counts[i], static_cast<std::int64_t>(sequence.tokens.size()) - sequence.done);
            if (count == 0) continue;
            while (static_cast<std::int64_t>(sequence.pages.size()) * page_tokens < sequence.done + count) {
                sequence.pages.push_back(free_.back());
                free_.pop_back();
            }
            segments.push_back({static_cast<std::int64_t>(tokens.size()), count, sequence.done, sequence.pages});
            for (std::int64_t position = sequence.done; position < sequence.done + count; ++position) {
                tokens.push_back(sequence.tokens[static_cast<std::size_t>(position)]);
                positions.push_back(static_cast<std::int32_t>(position));
            }
        }
        if (tokens.empty()) return;
        TensorView const hidden = small_.model.forward({tokens, positions, segments}, cache_, workspace_);
        auto const rows = static_cast<std::int64_t>(tokens.size());
        for (std::int64_t row = 0; row < rows; row += logit_call) {
            std::int64_t const end = std::min(rows, row + logit_call);
            small_.model.logits(logits_.view().rows(row, end), hidden.rows(row, end));
        }
        take_logits(sequences, segments);
    }

  private:
    void take_logits(std::vector<Running*> const& sequences, std::vector<kernels::AttentionSegment> const& segments) {
        std::size_t next = 0;
        for (kernels::AttentionSegment const& segment : segments) {
            while (sequences[next]->pages.data() != segment.page_table.data()) ++next;
            Running& sequence = *sequences[next];
            TensorView const rows = logits_.view().rows(segment.first_row, segment.first_row + segment.rows);
            sequence.logits.insert(sequence.logits.end(), rows.as<float>(), rows.as<float>() + rows.elements());
            sequence.done += segment.rows;
        }
    }

    SmallModel& small_;
    KvCache cache_;
    Workspace workspace_;
    Tensor logits_;
    std::vector<std::int32_t> free_;
};

class Bits : public testing::TestWithParam<char const*> {
  protected:
    // Longer than a split of 512 keys.
    static constexpr std::int64_t length = 530;

    Bits() : small_(config_named(GetParam()), compute_named(GetParam())) {
        small_.randomise(3);
        tokens_ = small_.tokens(length, 0);
        Runner runner(small_, length, 9, Keep::activations);
        Running sequence = runner.begin(tokens_);
        runner.step({&sequence}, {length});
        expected_ = std::move(sequence.logits);
    }

    // The first position whose logits differ, or -1.
    std::int64_t first_difference(std::vector<float> const& logits) const {
        auto const vocabulary = static_cast<std::size_t>(small_.model.config().vocabulary);
        for (std::size_t row = 0; row * vocabulary < logits.size(); ++row)
            if (std::memcmp(&logits[row * vocabulary], &expected_[row * vocabulary], vocabulary * sizeof(float)) != 0)
                return static_cast<std::int64_t>(row);
        return -1;
    }
    std::size_t rows_of(std::vector<float> const& logits) const {
        return logits.size() / static_cast<std::size_t>(small_.model.config().vocabulary);
    }

    // Every way to run the sequence but the first.
    void check_whole(char const* what) {
        for (Keep keep : {Keep::nothing, Keep::activations}) {
            Runner runner(small_, length + 200, 20, keep);
            Running before = runner.begin(small_.tokens(17, 1));
            Running sequence = runner.begin(tokens_);
            Running after = runner.begin(small_.tokens(150, 2));
            runner.step({&before, &sequence, &after}, {1000, 1000, 1000}, 13);
            ASSERT_EQ(rows_of(sequence.logits), static_cast<std::size_t>(length));
            EXPECT_EQ(first_difference(sequence.logits), -1) << what << ", between two others";
        }
    }

    void check_chunks(char const* what) {
        for (std::int64_t chunk : {7, 64, 100, 513}) {
            Runner runner(small_, 600, 20, Keep::nothing);
            Running sequence = runner.begin(tokens_);
            Running other = runner.begin(small_.tokens(300, 3));
            while (sequence.done < length) runner.step({&other, &sequence}, {5, chunk}, chunk % 2 == 0 ? 3 : 1000);
            EXPECT_EQ(first_difference(sequence.logits), -1) << what << ", in chunks of " << chunk;
        }
    }

    // Token by token after a prefill of `prefill`, `streams` at once; the others are of other lengths, end on the way,
    // and the sequence stands somewhere between them.
    void check_decode(char const* what, std::int64_t streams, std::int64_t prefill, std::int64_t until) {
        Runner runner(small_, 600, 12 + 4 * streams, Keep::nothing);
        std::vector<Running> others;
        for (std::int64_t i = 1; i < streams; ++i)
            others.push_back(runner.begin(small_.tokens(20 + 7 * i, static_cast<std::uint32_t>(10 + i))));
        Running sequence = runner.begin({tokens_.begin(), tokens_.begin() + until});
        std::vector<Running*> order;
        for (Running& other : others) order.push_back(&other);
        order.insert(order.begin() + static_cast<std::ptrdiff_t>(others.size() / 2), &sequence);
        if (prefill > 0) runner.step({&sequence}, {prefill});
        while (sequence.done < until) runner.step(order, std::vector<std::int64_t>(order.size(), 1));
        ASSERT_EQ(rows_of(sequence.logits), static_cast<std::size_t>(until));
        EXPECT_EQ(first_difference(sequence.logits), -1) << what << ", token by token, streams: " << streams;
    }

    void check_all(char const* what) {
        check_whole(what);
        check_chunks(what);
        check_decode(what, 1, 0, length);
        for (std::int64_t streams : {3, 8, 32}) check_decode(what, streams, 0, 100);
        for (std::int64_t streams : {1, 3, 8, 32}) check_decode(what, streams, 500, length);
    }

    SmallModel small_;
    Tokens tokens_;
    std::vector<float> expected_;
};

TEST_P(Bits, LogitsAreFinite) {
    for (float const value : expected_) ASSERT_TRUE(std::isfinite(value));
    // And not all alike: the test below could not fail.
    auto const [low, high] = std::minmax_element(expected_.begin(), expected_.end());
    EXPECT_GT(*high - *low, 1);
}

TEST_P(Bits, PlainWeights) { check_all("plain"); }

TEST_P(Bits, PackedWeights) {
    small_.model.pack(small_.arena);
    check_all("packed");
    // Packed again after a change, and dropped.
    TensorView const weight = small_.model.parameters().value("layers.0.mlp.up.weight");
    weight.as<float>()[0] += 1;
    small_.model.pack(small_.arena);
    Runner changed(small_, length, 9, Keep::nothing);
    Running sequence = changed.begin(tokens_);
    changed.step({&sequence}, {length});
    EXPECT_EQ(first_difference(sequence.logits), 0);
    expected_ = sequence.logits;
    small_.model.unpack();
    if (small_.model.compute() == DType::f32)
        check_whole("unpacked");
    else
        EXPECT_THROW(check_whole("unpacked"), Error);
}

TEST_P(Bits, ContextChangesTheBits) {
    Tokens changed = tokens_;
    changed[100] = (changed[100] + 1) % static_cast<std::int32_t>(small_.model.config().vocabulary);
    Runner runner(small_, length, 9, Keep::nothing);
    Running sequence = runner.begin(changed);
    runner.step({&sequence}, {length});
    EXPECT_EQ(first_difference(sequence.logits), 100);
}

// The loss of training is made of the log-probabilities that logits and log_sum_exp give.
TEST_P(Bits, LossIsTheLogProbability) {
    Model& model = small_.model;
    std::vector<std::int64_t> const lengths = {length};
    PackedSequences const packed(tokens_, lengths);
    KvCache cache(small_.arena, model, packed.pages());
    Workspace workspace(small_.arena, model, length, Keep::activations);
    Tokens const targets = small_.tokens(length, 5);
    Tensor const gradients = small_.gradients();
    auto const loss_of = [&](std::vector<float> const& weights) {
        model.forward(packed.batch(), cache, workspace);
        return model.backward(packed.batch(), targets, weights, cache, workspace, gradients);
    };
    std::vector<float> log_probability(length), sums(length);
    TensorView const logits = TensorView::of(expected_.data(), {length, model.config().vocabulary});
    Stream stream(DeviceKind::cpu);
    kernels::log_sum_exp(TensorView::of(sums.data(), {length}), logits, stream);
    kernels::target_log_probability(TensorView::of(log_probability.data(), {length}), logits,
                                    TensorView::of(sums.data(), {length}), TensorView::of(targets.data(), {length}),
                                    stream);
    double sum = 0;
    std::vector<float> weights(length, 0.0F);
    for (std::size_t row = 0; row < weights.size(); row += 1 + row % 3) {
        weights[row] = 0.5F + static_cast<float>(row % 5);
        sum -= static_cast<double>(weights[row]) * static_cast<double>(log_probability[row]);
    }
    EXPECT_EQ(loss_of(weights), sum);
    for (std::size_t row : {0, 255, 256, 511, 529}) {
        std::fill(weights.begin(), weights.end(), 0.0F);
        weights[row] = 1;
        EXPECT_EQ(loss_of(weights), -static_cast<double>(log_probability[row])) << "row " << row;
    }
}

INSTANTIATE_TEST_SUITE_P(Models, Bits,
                         testing::Values("llama", "neox", "gemma2", "qwen3", "llama_bf16", "neox_bf16", "gemma2_bf16",
                                         "qwen3_bf16"),
                         [](auto const& info) { return std::string(info.param); });

}  // namespace
}  // namespace selvage::test
