// SPDX-License-Identifier: Apache-2.0
#pragma once
// A small world to evaluate in: byte tokenizer, some held-out pairs in memory, a tiny model.
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data/corpus.h"
#include "evaluate/evaluator.h"
#include "support/test_main.h"

namespace selvage::test {

// This rank by itself.
inline std::unique_ptr<Communicator> alone() { return world()->split(world()->rank(), 0); }

constexpr std::int64_t context = 80;
using Pairs = std::vector<std::pair<std::string, std::string>>;

inline ModelConfig tiny_config() {
    ModelConfig config;
    config.layers = 2;
    config.hidden = 32;
    config.heads = 2;
    config.kv_heads = 1;
    config.head_size = 16;
    config.ffn = 64;
    config.vocabulary = 320;
    return config;
}

inline Pairs word_pairs() {
    return {{"red:", "apple rose brick wall"},
            {"blue:", "sky sea"},
            {"green:", "grass leaf frog pond moss"},
            {"one two:", "three"},
            {"up:", "down left right"},
            {"a rather long prompt, to have lengths of all kinds:", "short"},
            {"b:", "bee bean boat bell bird"},
            {"night:", "day dawn dusk"},
            {"cat:", "dog mouse"}};
}

inline Corpus corpus_of(Pairs const& pairs, Tokenizer const& tokenizer, std::int64_t vocabulary) {
    io::DataFile file;
    file.tokenizer = tokenizer.table();
    for (auto const& [prompt, response] : pairs) {
        auto const x = tokenizer.encode(prompt);
        auto const y = tokenizer.encode(response);
        file.tokens.insert(file.tokens.end(), x.begin(), x.end());
        file.tokens.insert(file.tokens.end(), y.begin(), y.end());
        file.tokens.push_back(tokenizer.special().end_of_answer);
        file.prompt_length.push_back(static_cast<std::int32_t>(x.size()));
        file.offsets.push_back(static_cast<std::int64_t>(file.tokens.size()));
    }
    std::vector<io::DataFile> files;
    files.push_back(std::move(file));
    return Corpus(std::move(files), {"pairs"}, context, TooLong::drop, vocabulary);
}

// Everything that evaluate() needs, on any communicator.
struct World {
    explicit World(std::unique_ptr<Communicator> communicator, Pairs const& pairs = word_pairs())
        : device(make_device("cpu")),
          arena(*device),
          grid(std::move(communicator), {}),
          tokenizer(open_tokenizer("bytes")),
          corpus(corpus_of(pairs, *tokenizer, tiny_config().vocabulary)),
          model(arena, tiny_config(), grid),
          marker(tokenizer->encode("|")) {
        model.parameters().initialise(3);
        options.turns = 2;
        options.prefix = 4;
        options.bins = 3;
        generation.streams = 8;
        generation.max_new_tokens = 28;
        generation.cache_mib = 8;
    }

    EvaluationResult run(std::function<bool(double)> const& progress = {}) {
        return evaluate(arena, grid, model, corpus, *tokenizer, marker, options, generation, context, 11, 40, 2,
                        progress);
    }

    std::unique_ptr<Device> device;
    Arena arena;
    ProcessGrid grid;
    std::unique_ptr<Tokenizer> tokenizer;
    Corpus corpus;
    Model model;
    std::vector<Token> marker;
    EvaluateOptions options;
    GenerateOptions generation;
};

}  // namespace selvage::test
