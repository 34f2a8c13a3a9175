// SPDX-License-Identifier: Apache-2.0
#pragma once
// A small world to evaluate in: byte tokenizer, some held-out pairs in memory, a tiny model.
#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
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
    return {{"red:", "the apple rose wall"},
            {"blue:", "the sky sea"},
            {"green:", "the grass leaf frog pond"},
            {"one two:", "three"},
            {"up:", "down left right"},
            {"a rather long prompt, to have lengths of all kinds:", "short"},
            {"b:", "bee bean boat bell bird"},
            {"night:", "day dawn dusk"},
            {"cat:", "the dog mouse"}};
}

inline Corpus corpus_of(Pairs const& pairs, Tokenizer const& tokenizer, std::int64_t vocabulary) {
    io::DataFile file;
    file.tokenizer = tokenizer.table();
    file.offsets = {0};
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

    EvaluationResult run(EvaluationCalls const& calls = {}) {
        return evaluate(arena, grid, model, corpus, *tokenizer, marker, options, generation, context, 11, 40, 2, calls);
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

inline std::vector<Token> joined(std::vector<Token> a, std::vector<Token> const& b, std::size_t count) {
    a.insert(a.end(), b.begin(), b.begin() + static_cast<std::ptrdiff_t>(count));
    return a;
}

// What a training step would see: every pair plain, and after its own answer and the marker again.
struct Lesson {
    explicit Lesson(World const& w) {
        for (std::int64_t i = 0; i < w.corpus.size(); ++i) {
            Example const one = w.corpus.example(i);
            add(one.prompt, one.answer);
            std::vector<Token> corrected = joined(one.prompt, one.answer, one.answer.size() - 1);
            corrected.insert(corrected.end(), w.marker.begin(), w.marker.end());
            add(corrected, one.answer);
        }
    }
    void add(std::vector<Token> const& prompt, std::vector<Token> const& answer) {
        std::vector<Token> const all = joined(prompt, answer, answer.size());
        tokens.insert(tokens.end(), all.begin(), all.end() - 1);
        targets.insert(targets.end(), all.begin() + 1, all.end());
        lengths.push_back(static_cast<std::int64_t>(all.size()) - 1);
        weights.insert(weights.end(), prompt.size() - 1, 0.0F);
        weights.insert(weights.end(), answer.size(), 1.0F / 16);
    }
    double weight_sum() const { return std::accumulate(weights.begin(), weights.end(), 0.0); }
    std::vector<std::int32_t> tokens, targets;
    std::vector<std::int64_t> lengths;
    std::vector<float> weights;
};

// Adam on the whole lesson at once, until the loss is below `enough` nats per token.
inline void memorise(World& w, int steps, double enough = 0) {
    Lesson const lesson(w);
    auto const rows = static_cast<std::int64_t>(lesson.tokens.size());
    PackedSequences const packed(lesson.tokens, lesson.lengths);
    KvCache cache(w.arena, w.model, packed.pages());
    Workspace workspace(w.arena, w.model, rows, Keep::activations);
    std::int64_t const size = w.model.parameters().flat_size();
    Tensor const gradients(w.arena, "test gradients", DType::f32, {size});
    float* const values = w.model.parameters().values().as<float>();
    float* const gradient = gradients.view().as<float>();
    std::vector<float> mean(static_cast<std::size_t>(size)), square(mean);
    for (int step = 1; step <= steps; ++step) {
        std::fill(gradient, gradient + size, 0.0F);
        w.model.forward(packed.batch(), cache, workspace);
        double const loss =
            w.model.backward(packed.batch(), lesson.targets, lesson.weights, cache, workspace, gradients);
        if (loss < enough * lesson.weight_sum()) return;
        auto const rate = static_cast<float>(0.01 * std::sqrt(1 - std::pow(0.99, step)) / (1 - std::pow(0.9, step)));
        for (std::size_t i = 0; i < mean.size(); ++i) {
            mean[i] = 0.9F * mean[i] + 0.1F * gradient[i];
            square[i] = 0.99F * square[i] + 0.01F * gradient[i] * gradient[i];
            values[i] -= rate * mean[i] / (std::sqrt(square[i]) + 1e-8F);
        }
    }
}

// Gives the model weights that are right now and then, so that no metric is trivial.
inline void learn_half(World& w) {
    float* const values = w.model.parameters().values().as<float>();
    static std::vector<float> const learnt = [&] {
        memorise(w, 200, 0.4);
        return std::vector<float>(values, values + w.model.parameters().flat_size());
    }();
    std::copy(learnt.begin(), learnt.end(), values);
}

}  // namespace selvage::test
