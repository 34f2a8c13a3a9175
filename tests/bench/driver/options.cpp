// SPDX-License-Identifier: Apache-2.0
#include "driver/options.h"

#include <boost/program_options.hpp>

#include <sstream>

#include "base/error.h"

namespace selvage::bench {
namespace {

namespace po = boost::program_options;

po::options_description describe(Options& options, std::string& precision) {
    po::options_description all("Options");
    all.add_options()("help", "this text")("model", po::value(&options.model), "30m, 124m, 1.3b, 7b-layers or tiny")(
        "device", po::value(&options.device), "cpu, cuda or emulated")(
        "precision", po::value(&precision), "f32 or bf16")("threads", po::value(&options.threads), "of each rank")(
        "seconds", po::value(&options.seconds), "a round takes at least this long")(
        "sequences", po::value(&options.sequences), "of a training step, on all ranks together")(
        "lanes", po::value(&options.lanes), "of a training step")("length", po::value(&options.sequence_length),
                                                                  "of a training sequence, in tokens")(
        "micro-batch", po::value(&options.micro_batch_tokens), "tokens computed at once, at most")(
        "streams", po::value(&options.streams), "answers decoded at once, per rank")(
        "prompt", po::value(&options.prompt_length), "its tokens")("new-tokens", po::value(&options.new_tokens),
                                                                   "of an answer");
    return all;
}

void check(Options const& options) {
    for (auto const& [name, value] : {std::pair{"threads", options.threads},
                                      {"sequences", options.sequences},
                                      {"lanes", options.lanes},
                                      {"micro-batch", options.micro_batch_tokens},
                                      {"length", options.length()},
                                      {"prompt", options.prompt()},
                                      {"streams", options.streams},
                                      {"new-tokens", options.new_tokens}})
        if (value < 1) fail(ExitCode::usage, "--{} is {}; give 1 or more", name, value);
    if (options.sequences % options.lanes != 0)
        fail(ExitCode::usage, "--sequences is {}, not a multiple of --lanes ({})", options.sequences, options.lanes);
}

}  // namespace

Options parse_options(int argc, char** argv, bool& help) {
    Options options;
    std::string precision = "f32";
    po::options_description all = describe(options, precision);
    all.add_options()("mode", po::value(&options.mode), "");
    po::positional_options_description positional;
    positional.add("mode", 1);
    po::variables_map values;
    try {
        po::store(po::command_line_parser(argc, argv).options(all).positional(positional).run(), values);
        po::notify(values);
    } catch (po::error const& error) {
        fail(ExitCode::usage, "{}; see --help", error.what());
    }
    help = values.count("help") != 0;
    if (help) return options;
    if (precision != "f32" && precision != "bf16")
        fail(ExitCode::usage, "--precision is {}; give f32 or bf16", precision);
    options.precision = precision == "bf16" ? DType::bf16 : DType::f32;
    check(options);
    return options;
}

std::string help_text() {
    Options options;
    std::string precision;
    std::ostringstream out;
    out << "selvage_bench MODE [options]: computes one round for every line of standard input, and prints its time.\n"
           "Modes:\n"
           "  train             optimizer steps (ranks under mpirun)\n"
           "  generate          answers of --new-tokens tokens to prompts of 64 (ranks under mpirun)\n"
           "  ceiling-train     the matrix products of a training step alone\n"
           "  ceiling-generate  the matrix products of a decoding step alone\n"
           "  ceiling-memory    copy and read bandwidth\n"
           "  gpu               no rounds: a table of what --device does, and what it could do at most\n"
        << describe(options, precision);
    return out.str();
}

ModelConfig model_config(std::string const& name) {
    ModelConfig config;
    config.vocabulary = 50304;
    config.head_size = 64;
    if (name == "124m") {
        config.layers = 12;
        config.hidden = 768;
        config.heads = config.kv_heads = 12;
        config.ffn = 2048;
    } else if (name == "30m") {
        config.layers = 6;
        config.hidden = 384;
        config.heads = config.kv_heads = 6;
        config.ffn = 1024;
    } else if (name == "1.3b") {
        config.layers = 24;
        config.hidden = 2048;
        config.heads = config.kv_heads = 16;
        config.head_size = 128;
        config.ffn = 5504;
    } else if (name == "7b-layers") {
        config.layers = 4;
        config.hidden = 4096;
        config.heads = config.kv_heads = 32;
        config.head_size = 128;
        config.ffn = 11008;
        config.vocabulary = 32000;
    } else if (name == "tiny") {
        config.layers = 2;
        config.hidden = 64;
        config.heads = config.kv_heads = 1;
        config.ffn = 128;
        config.vocabulary = 512;
    } else {
        fail(ExitCode::usage, "--model is {}; give 30m, 124m, 1.3b, 7b-layers or tiny", name);
    }
    return config;
}

std::int64_t matrix_elements(ModelConfig const& config) {
    std::int64_t const attention = 2 * config.hidden * config.head_size * (config.heads + config.kv_heads);
    return config.layers * (attention + 3 * config.hidden * config.ffn) + config.hidden * config.vocabulary;
}

}  // namespace selvage::bench
