// SPDX-License-Identifier: Apache-2.0
#pragma once
// A small random model whose outputs vary, and requests for it.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/philox.h"
#include "generate/engine.h"
#include "support/families.h"
#include "support/test_main.h"
#include "tensor/host_copy.h"

namespace selvage::test {

struct SmallModel {
    explicit SmallModel(std::int64_t vocabulary = 64, std::int64_t pieces = 0, DType compute = DType::f32,
                        std::string const& device_name = "cpu", std::string const& family = "")
        : device(make_device(device_name)),
          arena(*device),
          grid(world(), GridOptions{}),
          model(arena, config_of(family, vocabulary), grid, pieces, compute) {
        model.parameters().initialise(3);
        enlarge();
    }
    // Far from uniform predictions: ten times the usual deviation.
    void enlarge() {
        TensorView const all = model.parameters().values();
        device->synchronize();
        FloatReader reader(all, *device);
        FloatWriter writer(all, *device);
        for (Parameter const& parameter : model.parameters().parameters()) {
            if (parameter.spec.init != InitKind::normal) continue;
            Range const elements{parameter.offset, parameter.offset + parameter.shape.elements()};
            std::span<float const> const read = reader.read(elements);
            std::vector<float> const old(read.begin(), read.end());
            writer.write(elements, [&](float* values) {
                for (std::size_t i = 0; i < old.size(); ++i) values[i] = 10 * old[i];
            });
        }
    }
    static ModelConfig config_of(std::string const& family, std::int64_t vocabulary) {
        if (family == "gemma2") return as_gemma2(config(vocabulary));
        return family == "qwen3" ? as_qwen3(config(vocabulary)) : config(vocabulary);
    }
    static ModelConfig config(std::int64_t vocabulary) {
        ModelConfig config;
        config.layers = 2;
        config.hidden = 48;
        config.heads = 4;
        config.kv_heads = 2;
        config.head_size = 16;
        config.ffn = 80;
        config.vocabulary = vocabulary;
        return config;
    }

    std::unique_ptr<Device> device;
    Arena arena;
    ProcessGrid grid;
    Model model;
};

constexpr SpecialTokens special{.end_of_answer = 5, .begin = 6, .padding = 7};
constexpr std::int64_t context = 400;
constexpr std::uint64_t seed = 0x123456789ABCDEF0;

inline std::uint32_t number(std::uint32_t example, std::uint32_t what, std::uint32_t below) {
    return Random(1, Purpose::test).words({0, example, what})[0] % below;
}
inline std::vector<Token> random_tokens(std::uint32_t example, std::uint32_t stream, std::size_t count,
                                        std::uint32_t vocabulary = 64) {
    std::vector<Token> tokens(count);
    for (std::size_t i = 0; i < count; ++i)
        tokens[i] = static_cast<Token>(number(example, 1000 * stream + static_cast<std::uint32_t>(i), vocabulary));
    return tokens;
}

// Prompts of 1 to 120 tokens, answers of up to 150, all kinds of samplers.
inline DraftRequest free_request(std::uint32_t example) {
    DraftRequest request;
    request.example = example;
    request.sample = static_cast<std::int32_t>(example % 3);
    request.turn = static_cast<std::int32_t>(example % 2);
    request.prompt = random_tokens(example, 1, 1 + number(example, 1, 120));
    request.max_new_tokens = 1 + number(example, 2, 150);
    std::vector<SamplerOptions> const samplers = {{1, 1, 0}, {0, 1, 0}, {0.7, 1, 0}, {1, 0.8, 0}, {1.3, 0.95, 20}};
    request.sampler = samplers[example % samplers.size()];
    return request;
}
inline std::vector<DraftRequest> free_requests(std::uint32_t count) {
    std::vector<DraftRequest> requests;
    for (std::uint32_t example = 0; example < count; ++example) requests.push_back(free_request(example));
    return requests;
}

inline GenerateOptions generate_options(std::int64_t streams, std::int64_t cache_mib = 64) {
    GenerateOptions options;
    options.streams = streams;
    options.cache_mib = cache_mib;
    return options;
}

// Bit for bit; logprobs are never NaN, so that == does.
inline bool same(Draft const& a, Draft const& b) {
    return a.example == b.example && a.sample == b.sample && a.turn == b.turn && a.finish == b.finish &&
           a.tokens == b.tokens && a.logprob == b.logprob && a.sampled_logprob == b.sampled_logprob;
}
inline std::int64_t differing(std::vector<Draft> const& a, std::vector<Draft> const& b) {
    std::int64_t count = a.size() == b.size() ? 0 : 1000000;
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) count += same(a[i], b[i]) ? 0 : 1;
    return count;
}

}  // namespace selvage::test
