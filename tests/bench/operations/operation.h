// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the timed operations share: tensors with random contents, and how a case is registered.
#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "device/arena.h"
#include "tensor/tensor.h"

namespace selvage::bench {

// The sizes of the 124M model.
constexpr std::int64_t hidden = 768, heads = 12, head_size = 64, ffn = 2048, vocabulary = 50304;

Arena& arena();
Stream& stream();

// Values between -0.5 and 0.5 (f32, bf16), or below `below` (i32).
Tensor random_tensor(Shape shape, DType dtype = DType::f32, std::int32_t below = 1);

// What an operation does in one call, for its rate.
struct Cost {
    double operations = 0;  // GFLOP per second are shown
    double bytes = 0;       // GB per second are shown
};

// `make` makes the operands when the case runs, and returns the call that is timed.
using Call = std::function<void()>;
void add_case(std::string const& name, Cost cost, std::function<Call()> make);

// One per source file: registers its cases.
void add_products();
void add_attention();
void add_elementwise();
void add_vocabulary();

}  // namespace selvage::bench
