// SPDX-License-Identifier: Apache-2.0
#pragma once
// A tiny model with its trainer on a grid of its own, and woven rows to feed it.
#include <cmath>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "base/philox.h"
#include "support/families.h"
#include "support/test_main.h"
#include "tensor/host_copy.h"
#include "train/trainer.h"

namespace selvage::test {

inline ModelConfig tiny_model() {
    ModelConfig config;
    config.layers = 2;
    config.hidden = 32;
    config.heads = 2;
    config.kv_heads = 1;
    config.head_size = 16;
    config.ffn = 48;
    config.vocabulary = 97;
    return config;
}

// That as "gemma2" or "qwen3" has it; "" as it is.
inline ModelConfig tiny_model(std::string const& family) {
    if (family == "gemma2") return as_gemma2(tiny_model());
    return family == "qwen3" ? as_qwen3(tiny_model()) : tiny_model();
}

inline TrainOptions tiny_training() {
    TrainOptions options;
    options.lanes = 8;
    options.batch_tokens = 700;
    options.micro_batch_tokens = 64;
    options.optimizer.learning_rate = 1e-2;
    options.optimizer.warmup_steps = 2;
    return options;
}

inline PackingOptions packing_of(TrainOptions const& options) {
    return {options.batch_tokens, options.micro_batch_tokens, options.lanes};
}

// Rows of 1 to `longest` tokens; the last half of each has loss, with unequal weights.
inline std::vector<Woven> woven_rows(int count, int longest, int vocabulary) {
    Random const random(17, Purpose::test);
    std::vector<Woven> rows;
    for (int row = 0; row < count; ++row) {
        auto const draw = [&](int at) {
            return random.uniform({0, static_cast<std::uint32_t>(row), static_cast<std::uint32_t>(at)});
        };
        Woven woven;
        woven.example = row;
        int const length = 1 + static_cast<int>(draw(1000) * longest);
        woven.answer_start = length / 2;
        for (int i = 0; i < length; ++i) {
            woven.input_tokens.push_back(static_cast<Token>(draw(i) * vocabulary));
            woven.target_tokens.push_back(static_cast<Token>(draw(i + 1) * vocabulary));
            woven.loss_weight.push_back(i < woven.answer_start ? 0.0F : static_cast<float>(0.5 + draw(2000 + i)));
            woven.origin.push_back(Origin::gold);
            woven.target_origin.push_back(Origin::gold);
        }
        rows.push_back(std::move(woven));
    }
    return rows;
}

inline std::vector<std::int64_t> lengths_of(std::span<Woven const> rows) {
    std::vector<std::int64_t> lengths;
    for (Woven const& row : rows) lengths.push_back(static_cast<std::int64_t>(row.input_tokens.size()));
    return lengths;
}

class Job {
  public:
    Job(std::unique_ptr<Communicator> world, TrainOptions const& options, GridOptions const& grid = {},
        ModelConfig const& config = tiny_model(), DType compute = DType::f32, std::string const& device = "cpu")
        : device_(make_device(device)),
          arena_(*device_),
          grid_(std::move(world), grid),
          model_(arena_, config, grid_, 0, compute, parameters_of(options.shard)),
          trainer_(arena_, grid_, model_, options) {
        model_.parameters().initialise(5);
    }
    Arena& arena() { return arena_; }
    ProcessGrid const& grid() { return grid_; }
    Model& model() { return model_; }
    Trainer& trainer() { return trainer_; }
    float* values() { return model_.parameters().values().as<float>(); }
    // Of what this rank holds.
    std::vector<float> copy() {
        device_->synchronize();
        FloatReader reader(model_.parameters().values(), *device_);
        auto const all = reader.read({0, reader.size()});
        return {all.begin(), all.end()};
    }
    // Of all parameters; this rank's are compared. Bits, so that a NaN equals itself.
    bool has_values(std::vector<float> const& others) {
        Range const held = model_.parameters().held();
        auto const mine = copy();
        return std::memcmp(mine.data(), others.data() + held.begin, mine.size() * sizeof(float)) == 0;
    }

  private:
    std::unique_ptr<Device> device_;
    Arena arena_;
    ProcessGrid grid_;
    Model model_;
    Trainer trainer_;
};

}  // namespace selvage::test
