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
    DType precision = DType::f32;
    std::int64_t threads = 1;
    double seconds = 1;  // a round takes at least this long (a step at least)
    // train
    std::int64_t sequences = 4;  // of a step, on all ranks together
    std::int64_t lanes = 1;
    // generate; ceiling-generate
    std::int64_t streams = 1;  // per rank
    std::int64_t new_tokens = 128;

    std::int64_t length() const { return model == "tiny" ? 32 : 256; }  // tokens of a training sequence
    std::int64_t prompt() const { return model == "tiny" ? 8 : 64; }
};

// Error (usage) for what it does not know. `help`: no more than that was asked.
Options parse_options(int argc, char** argv, bool& help);
std::string help_text();

// "124m": 12 layers of 768; "30m": 6 of 384; both Llama-style with a tied vocabulary of 50304. "tiny": for tests.
ModelConfig model_config(std::string const& name);
// Elements of all matrices that a token's forward pass reads.
std::int64_t matrix_elements(ModelConfig const& config);

}  // namespace selvage::bench
