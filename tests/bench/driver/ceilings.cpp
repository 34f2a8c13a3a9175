// SPDX-License-Identifier: Apache-2.0
// What the machine could do at most: the matrix products of a step alone, by the library at its best.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/timer.h"
#include "driver/library_product.h"
#include "driver/modes.h"
#include "driver/rounds.h"

namespace selvage::bench {
namespace {

// A linear layer of the model and how often it is there. Products of one input are taken together.
struct LinearLayer {
    std::string name;
    std::int64_t inputs;
    std::int64_t outputs;
    std::int64_t count;
};

std::vector<LinearLayer> linear_layers(ModelConfig const& config) {
    std::int64_t const heads = config.heads * config.head_size;
    std::int64_t const kv_heads = config.kv_heads * config.head_size;
    return {{"query_key_value", config.hidden, heads + 2 * kv_heads, config.layers},
            {"attention_output", heads, config.hidden, config.layers},
            {"gate_up", config.hidden, 2 * config.ffn, config.layers},
            {"down", config.ffn, config.hidden, config.layers},
            {"head", config.hidden, config.vocabulary, 1}};
}

double seconds_of(LibraryProduct& product) {
    Timer const timer;
    product.run();
    return timer.seconds();
}

// The shortest of some calls.
double best_seconds(LibraryProduct& product, double at_least) {
    constexpr int fewest = 3;
    double best = std::numeric_limits<double>::infinity();
    Timer const timer;
    for (int calls = 0; calls < fewest || timer.seconds() < at_least; ++calls)
        best = std::min(best, seconds_of(product));
    return best;
}

// One product of a training step, in the form that was fastest when it was tried.
struct StepProduct {
    std::string name;
    std::int64_t count;
    std::unique_ptr<LibraryProduct> product;
};

std::unique_ptr<LibraryProduct> fastest(ProductShape shape, std::vector<ProductForm> const& forms) {
    std::unique_ptr<LibraryProduct> best;
    double best_time = std::numeric_limits<double>::infinity();
    for (ProductForm const& form : forms) {
        std::unique_ptr<LibraryProduct> tried;
        try {
            tried = std::make_unique<LibraryProduct>(shape, form);
        } catch (dnnl::error const&) {
            continue;  // the library has no such product
        }
        tried->run();
        double const time = best_seconds(*tried, 0);
        if (time >= best_time) continue;
        best_time = time;
        best = std::move(tried);
    }
    if (!best) fail(ExitCode::bad_data, "oneDNN has no product of {} x {} x {} here", shape.m, shape.n, shape.k);
    return best;
}

// Forward, gradient of the input, gradient of the weight, for `rows` rows.
std::vector<StepProduct> training_products(LinearLayer const& layer, std::int64_t rows, DType precision) {
    std::vector<ProductForm> const with_weight = {{precision, Layout::plain, Layout::chosen, false},
                                                  {precision, Layout::plain, Layout::plain, false},
                                                  {precision, Layout::plain, Layout::transposed, false}};
    std::vector<ProductForm> const of_rows = {{precision, Layout::transposed, Layout::plain, true},
                                              {precision, Layout::transposed, Layout::chosen, true},
                                              {precision, Layout::chosen, Layout::chosen, true}};
    std::vector<StepProduct> products;
    products.push_back(
        {layer.name + "_forward", layer.count, fastest({rows, layer.outputs, layer.inputs}, with_weight)});
    products.push_back(
        {layer.name + "_input_gradient", layer.count, fastest({rows, layer.inputs, layer.outputs}, with_weight)});
    products.push_back(
        {layer.name + "_weight_gradient", layer.count, fastest({layer.outputs, layer.inputs, rows}, of_rows)});
    return products;
}

}  // namespace

void ceiling_train(MpiSession& mpi, Options const& options) {
    set_product_threads(options.threads);
    std::int64_t const rows = options.sequences * options.length();
    std::vector<StepProduct> products;
    for (LinearLayer const& layer : linear_layers(model_config(options.model)))
        for (StepProduct& product : training_products(layer, rows, options.precision))
            products.push_back(std::move(product));
    auto const round = [&]() -> Numbers {
        Numbers numbers;
        double seconds = 0, work = 0;
        for (StepProduct& one : products) {
            double const time = best_seconds(*one.product, options.seconds / static_cast<double>(products.size()));
            seconds += static_cast<double>(one.count) * time;
            work += static_cast<double>(one.count) * one.product->work();
            numbers.emplace_back(one.name + "_gflops", 1e-9 * one.product->work() / time);
        }
        numbers.emplace_back("gflops", 1e-9 * work / seconds);
        numbers.emplace_back("seconds", seconds);
        numbers.emplace_back("tokens", static_cast<double>(rows));
        return numbers;
    };
    serve_rounds(*mpi.world(), {}, round);
}

void ceiling_generate(MpiSession& mpi, Options const& options) {
    set_product_threads(options.threads);
    ModelConfig const config = model_config(options.model);
    ProductForm const packed{options.precision, Layout::plain, Layout::chosen, false};
    // Every matrix has its own memory, so that a product finds its weights as cold as the model does.
    std::vector<std::unique_ptr<LibraryProduct>> step;
    std::vector<LinearLayer> const layers = linear_layers(config);
    for (std::int64_t i = 0; i < config.layers; ++i)
        for (LinearLayer const& layer : layers)
            if (i < layer.count)
                step.push_back(std::make_unique<LibraryProduct>(
                    ProductShape{options.streams, layer.outputs, layer.inputs}, packed));
    auto const run = [&] {
        for (auto& product : step) product->run();
    };
    auto const world = mpi.world();
    run();
    double const once = timed(*world, run);
    auto const steps = static_cast<std::int64_t>(std::clamp(std::ceil(options.seconds / once), 1.0, 1e6));
    // What reading the prompts takes, in the engine's blocks of rows, at the rate of such a block.
    std::int64_t const prompt_rows = std::min<std::int64_t>(256, options.streams * options.prompt());
    std::vector<std::unique_ptr<LibraryProduct>> prefill;
    for (LinearLayer const& layer : layers)
        if (layer.name != "head")
            prefill.push_back(
                std::make_unique<LibraryProduct>(ProductShape{prompt_rows, layer.outputs, layer.inputs}, packed));
    double const blocks = static_cast<double>(options.streams * options.prompt()) / static_cast<double>(prompt_rows);
    auto const round = [&]() -> Numbers {
        double const seconds = timed(*world, [&] {
            for (std::int64_t i = 0; i < steps; ++i) run();
        });
        double reading = 0;
        for (auto& product : prefill)
            reading += blocks * static_cast<double>(config.layers) * best_seconds(*product, 0.01);
        return {{"seconds", seconds}, {"tokens", static_cast<double>(steps * options.streams)}, {"prefill", reading}};
    };
    serve_rounds(*world, {{"matrix_elements", static_cast<double>(matrix_elements(config))}}, round);
}

}  // namespace selvage::bench
