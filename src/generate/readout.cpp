// SPDX-License-Identifier: Apache-2.0
#include "generate/readout.h"

#include <algorithm>
#include <cmath>

#include "kernels/embedding.h"

namespace selvage {
std::uint64_t draw_bits(std::uint64_t seed, Purpose purpose, std::int64_t round, std::int64_t example,
                        std::int64_t position, std::int32_t sample, std::int32_t turn) {
    // What DrawIndex has room for; beyond it two samples would share their draws.
    SELVAGE_CHECK(0 <= sample && sample <= 0xFFFF && 0 <= turn && turn <= 0xFF, "sample {}, turn {}", sample, turn);
    return Random(seed, purpose)
        .bits({static_cast<std::uint32_t>(round), static_cast<std::uint32_t>(example),
               static_cast<std::uint32_t>(position), static_cast<std::uint16_t>(sample),
               static_cast<std::uint8_t>(turn)});
}

Readout::Readout(Arena& arena, Model& model, std::int64_t rows)
    : model_(model),
      stream_(arena.device()),
      most_rows_(rows),
      hidden_(arena, "readout hidden", model.compute(), {rows, model.config().hidden}),
      logits_(arena, "readout logits", DType::f32, {rows, model.vocabulary().part().size()}),
      log_sum_exp_(arena, "readout rows", DType::f32, {rows}),
      tokens_(arena, "readout rows", DType::i32, {rows}),
      values_(arena, "readout rows", DType::f32, {rows}) {
    samplings_.reserve(static_cast<std::size_t>(rows));
}

void Readout::read(TensorView hidden, std::span<std::int32_t const> rows) {
    rows_ = static_cast<std::int64_t>(rows.size());
    SELVAGE_CHECK(0 < rows_ && rows_ <= most_rows_, "{} rows of at most {}", rows_, most_rows_);
    kernels::gather_rows(hidden_.first(rows_), hidden, TensorView::of(rows.data(), {rows_}), stream_);
    model_.logits(logits_.first(rows_), hidden_.first(rows_));
    summed_ = false;
}

void Readout::check_finite() const {
    float const* const sums = log_sum_exp_.view().as<float>();
    if (!std::all_of(sums, sums + rows_, [](float sum) { return std::isfinite(sum); }))
        fail(ExitCode::bad_data,
             "the model's log-probabilities are not finite (its weights have diverged or are damaged); go back to an "
             "earlier checkpoint (as model.from), and lower train.learning_rate");
}

void Readout::log_probability(std::span<float> out, std::span<Token const> tokens) {
    SELVAGE_CHECK(static_cast<std::int64_t>(tokens.size()) == rows_ && out.size() == tokens.size(),
                  "{} tokens for {} rows", tokens.size(), rows_);
    if (!summed_) {
        model_.vocabulary().log_sum_exp(log_sum_exp_.first(rows_), logits_.first(rows_), stream_);
        check_finite();
        summed_ = true;
    }
    model_.vocabulary().target_log_probability(TensorView::of(out.data(), {rows_}), logits_.first(rows_),
                                               log_sum_exp_.first(rows_), TensorView::of(tokens.data(), {rows_}),
                                               stream_);
}

void Readout::argmax(std::span<Token> out) {
    SELVAGE_CHECK(static_cast<std::int64_t>(out.size()) == rows_, "{} tokens for {} rows", out.size(), rows_);
    model_.vocabulary().argmax(TensorView::of(out.data(), {rows_}), logits_.first(rows_), model_.drawable_ids(),
                               stream_);
}

void Readout::sample(std::span<SampledToken> out, std::span<Draw const> draws) {
    SELVAGE_CHECK(static_cast<std::int64_t>(draws.size()) == rows_ && out.size() == draws.size(),
                  "{} draws for {} rows", draws.size(), rows_);
    samplings_.clear();
    for (Draw const& draw : draws)
        samplings_.push_back({draw.sampler.temperature, draw.sampler.top_p, draw.sampler.top_k, draw.bits});
    TensorView const tokens = tokens_.first(rows_), values = values_.first(rows_);
    model_.vocabulary().sample(tokens, values, summed_ ? TensorView() : log_sum_exp_.first(rows_), logits_.first(rows_),
                               model_.drawable_ids(), samplings_, stream_);
    if (!summed_) check_finite();
    summed_ = true;
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = {tokens.as<Token>()[i], values.as<float>()[i]};
}

}  // namespace selvage
