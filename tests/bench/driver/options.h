// SPDX-License-Identifier: Apache-2.0
#pragma once
// The command line of selvage_bench.
#include <cstdint>
#include <string>

#include "model/model_config.h"
#include "tensor/dtype.h"

namespace selvage::bench {

struct Options {
    std::string mode;
    std::string model = "124m";
    std::string device = "cpu";  // as of make_device
    DType precision = DType::f32;
    std::int64_t threads = 1;
    double seconds = 1;  // a round takes at least this long (a step at least)
    // train
    std::int64_t sequences = 4;  // of a step, on all ranks together
    std::int64_t lanes = 1;
    std::int64_t micro_batch_tokens = 1024;  // at most
    // generate; ceiling-generate
    std::int64_t streams = 1;  // per rank
    std::int64_t new_tokens = 128;

    std::int64_t sequence_length = 0, prompt_length = 0;                       // 0: as follows
    std::int64_t length() const { return or_else(sequence_length, 32, 256); }  // tokens of a training sequence
    std::int64_t prompt() const { return or_else(prompt_length, 8, 64); }

  private:
    std::int64_t or_else(std::int64_t given, std::int64_t tiny, std::int64_t usual) const {
        return given > 0 ? given : model == "tiny" ? tiny : usual;
    }
};

// Error (usage) for what it does not know. `help`: no more than that was asked.
Options parse_options(int argc, char** argv, bool& help);
std::string help_text();

// Llama-style, with a tied vocabulary of 50304. "30m": 6 layers of 384; "124m": 12 of 768; "1.3b": 24 of 2048;
// "7b-layers": 4 of 4096, with the vocabulary of Llama 2; "tiny": for tests.
ModelConfig model_config(std::string const& name);
// Elements of all matrices that a token's forward pass reads.
std::int64_t matrix_elements(ModelConfig const& config);

}  // namespace selvage::bench
