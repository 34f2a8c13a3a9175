// SPDX-License-Identifier: Apache-2.0
// Whole training steps, prompts and decoding.
#include <vector>

#include "driver/generation.h"
#include "driver/training.h"
#include "gpu/cases.h"

namespace selvage::bench {
namespace {

double attention_width(ModelConfig const& config) {
    return static_cast<double>(config.layers * config.heads * config.head_size);
}

// Of the forward pass for a token that sees `seen` tokens on the average.
double flops_per_token(ModelConfig const& config, double seen) {
    return 2 * static_cast<double>(matrix_elements(config)) + 4 * attention_width(config) * seen;
}

void measure_training(MpiSession& mpi, Table& table, Ceilings const& ceilings, Options const& options,
                      std::string const& how = "") {
    std::string const name =
        fmt::format("{}, {} x {} tokens{}", options.model, options.sequences, options.length(), how);
    table.where_it_fits(name, [&] {
        Job job(mpi, options);
        Training training(job, options);
        double const rate = training.tokens() / table.seconds_of([&] { training.step(); });
        double const flops =
            3 * rate * flops_per_token(job.model().config(), 0.5 * static_cast<double>(options.length()));
        table.line(name, rate, "tokens/s", flops / ceilings.flops);
    });
}

void measure_prompts(MpiSession& mpi, Table& table, Ceilings const& ceilings, Options options) {
    options.new_tokens = 1;
    std::string const name = fmt::format("{}, {} x {} tokens", options.model, options.streams, options.prompt());
    table.where_it_fits(name, [&] {
        Job job(mpi, options);
        Generation generation(job, options);
        double const tokens = static_cast<double>(options.streams * options.prompt());
        double const rate = tokens / table.seconds_of([&] { generation.sweep(); });
        double const flops = rate * flops_per_token(job.model().config(), 0.5 * static_cast<double>(options.prompt()));
        table.line(name, rate, "tokens/s", flops / ceilings.flops);
    });
}

// Decoding alone: what more new tokens take more.
void measure_decoding(MpiSession& mpi, Table& table, Ceilings const& ceilings, Options options,
                      std::string const& how) {
    std::int64_t const few = options.new_tokens / 4, many = options.new_tokens;
    std::string const name =
        fmt::format("{}, batch {}, behind {} tokens{}", options.model, options.streams, options.prompt(), how);
    table.where_it_fits(name, [&] {
        Job job(mpi, options);
        auto const seconds = [&](std::int64_t new_tokens) {
            options.new_tokens = new_tokens;
            Generation generation(job, options);
            return table.seconds_of([&] { generation.sweep(); });
        };
        double const short_one = seconds(few);
        double const step = (seconds(many) - short_one) / static_cast<double>(many - few);
        ModelConfig const& config = job.model().config();
        double const seen = static_cast<double>(options.prompt()) + 0.5 * static_cast<double>(few + many);
        double const kv_width = static_cast<double>(config.layers * config.kv_heads * config.head_size);
        double const bytes = 2 * static_cast<double>(matrix_elements(config)) +
                             4 * kv_width * seen * static_cast<double>(options.streams);
        table.line(name, static_cast<double>(options.streams) / step, "tokens/s", bytes / step / ceilings.bytes);
    });
}

}  // namespace

void measure_jobs(MpiSession& mpi, Table& table, Ceilings const& ceilings, Options const& given) {
    bool const tiny = given.model == "tiny";
    auto const with = [&](char const* model, std::int64_t sequences, std::int64_t length) {
        Options options = given;
        options.precision = DType::bf16;
        options.model = tiny ? "tiny" : model;
        options.sequences = options.streams = tiny ? 2 : sequences;
        options.sequence_length = options.prompt_length = tiny ? 16 : length;
        options.micro_batch_tokens = std::int64_t{1} << 13;
        options.new_tokens = tiny ? 8 : 128;
        return options;
    };
    table.title("Training steps, bf16 (operations of products and of the causal half of attention)");
    table.with_and_without_invariance(
        [&](std::string const& how) { measure_training(mpi, table, ceilings, with("124m", 16, 2048), how); });
    if (!tiny)
        for (char const* model : {"1.3b", "7b-layers"})
            for (std::int64_t const length : {2048, 4096})
                measure_training(mpi, table, ceilings, with(model, 16384 / length, length));
    table.title("Prompts, bf16");
    measure_prompts(mpi, table, ceilings, with("124m", 16, 2048));
    if (!tiny) measure_prompts(mpi, table, ceilings, with("1.3b", 8, 2048));
    table.title("Decoding, bf16 (bytes of weights, keys and values)");
    table.with_and_without_invariance(
        [&](std::string const& how) { measure_decoding(mpi, table, ceilings, with("124m", 16, 512), how); });
    if (!tiny)
        for (std::int64_t const batch : {1, 16, 64, 256})
            measure_decoding(mpi, table, ceilings, with("1.3b", batch, 512), "");
}

}  // namespace selvage::bench
