// SPDX-License-Identifier: Apache-2.0
#include "generate/readout.h"

#include <algorithm>
#include <cmath>

#include "kernels/embedding.h"
#include "tensor/host_copy.h"

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
      stream_(arena.stream()),
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
    kernels::gather_rows(hidden_.first(rows_), hidden, uploaded(rows, stream_), stream_);
    model_.logits(logits_.first(rows_), hidden_.first(rows_));
    summed_ = false;
}

void Readout::check_finite() {
    std::span<float const> const sums = on_host(log_sum_exp_.first(rows_), host_values_, stream_);
    if (!std::ranges::all_of(sums, [](float sum) { return std::isfinite(sum); }))
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
    TensorView const result = result_for(out, values_);
    model_.vocabulary().target_log_probability(result, logits_.first(rows_), log_sum_exp_.first(rows_),
                                               uploaded(tokens, stream_), stream_);
    collect(out, result, stream_);
}

void Readout::argmax(std::span<Token> out) {
    SELVAGE_CHECK(static_cast<std::int64_t>(out.size()) == rows_, "{} tokens for {} rows", out.size(), rows_);
    TensorView const result = result_for(out, tokens_);
    model_.vocabulary().argmax(result, logits_.first(rows_), model_.drawable_ids(), stream_);
    collect(out, result, stream_);
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
    std::span<Token const> const drawn = on_host(tokens, host_tokens_, stream_);
    std::span<float const> const shares = on_host(values, host_values_, stream_);
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = {drawn[i], shares[i]};
}

}  // namespace selvage
