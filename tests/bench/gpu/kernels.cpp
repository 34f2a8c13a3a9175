// SPDX-License-Identifier: Apache-2.0
// The ceilings, and the operations whose time is that of memory.
#include "gpu/cases.h"
#include "kernels/adamw.h"
#include "kernels/cross_entropy.h"
#include "kernels/gemm.h"
#include "kernels/norm.h"
#include "kernels/softmax.h"
#include "tensor/host_copy.h"

namespace selvage::bench {

using kernels::Accumulate;

Ceilings measure_ceilings(Table& table, bool tiny) {
    Ceilings ceilings;
    table.title("Ceilings, in this run");
    {
        std::int64_t const n = tiny ? 64 : 8192;
        Tensor const in = random_tensor(table, {n, n}, DType::bf16), weight = random_tensor(table, {n, n}, DType::f32);
        Tensor const out(table.arena(), "benchmark", DType::bf16, {n, n});
        kernels::PackedWeight const packed(table.arena(), weight, DType::bf16);
        double const seconds =
            table.seconds_of([&] { kernels::linear_forward(out, in, packed, TensorView{}, table.stream()); });
        auto const size = static_cast<double>(n);
        ceilings.flops = 2 * size * size * size / seconds;
        table.line(fmt::format("matrix product {0} x {0} x {0}, bf16", n), 1e-12 * ceilings.flops, "TFLOP/s");
    }
    {
        std::size_t const bytes = tiny ? 1U << 16 : std::size_t{4} << 30;
        Memory const from = table.arena().allocate("benchmark", bytes), to = table.arena().allocate("benchmark", bytes);
        double const seconds = table.seconds_of([&] { table.stream().queue()->copy(to.data(), from.data(), bytes); });
        ceilings.bytes = 2 * static_cast<double>(bytes) / seconds;
        table.line("copy within its memory, bytes read and written", 1e-9 * ceilings.bytes, "GB/s");
    }
    return ceilings;
}

namespace {

class ByMemory {
  public:
    ByMemory(Table& table, Ceilings const& ceilings) : table_(table), ceilings_(ceilings) {}
    // `bytes` that `work` reads and writes at least.
    void measure(std::string const& name, double bytes, std::function<void()> const& work) {
        double const rate = bytes / table_.seconds_of(work);
        table_.line(name, 1e-9 * rate, "GB/s", rate / ceilings_.bytes);
    }

  private:
    Table& table_;
    Ceilings ceilings_;
};

void measure_adamw(Table& table, ByMemory& by_memory, std::int64_t count) {
    Tensor const values = random_tensor(table, {count}, DType::f32),
                 gradient = random_tensor(table, {count}, DType::f32);
    Tensor const first(table.arena(), "benchmark", DType::f32, {count});
    Tensor const second(table.arena(), "benchmark", DType::f32, {count});
    kernels::AdamWStep step;
    step.learning_rate = 1e-3F;
    by_memory.measure(fmt::format("AdamW, {} parameters", count), 7.0 * 4 * static_cast<double>(count),
                      [&] { kernels::adamw_update(values, first, second, gradient, step, table.stream()); });
}

void measure_norms(Table& table, ByMemory& by_memory, std::int64_t rows, std::int64_t hidden) {
    Shape const shape{rows, hidden};
    auto const elements = static_cast<double>(shape.elements());
    Tensor const in = random_tensor(table, shape, DType::f32), branch = random_tensor(table, shape, DType::f32);
    Tensor const weight = random_tensor(table, {hidden}, DType::f32);
    Tensor const out(table.arena(), "benchmark", DType::bf16, shape),
        sum(table.arena(), "benchmark", DType::f32, shape);
    Tensor const rstd(table.arena(), "benchmark", DType::f32, {rows});
    std::string const size = fmt::format(" of {} x {}", rows, hidden);
    by_memory.measure("RMSNorm with residual" + size, (3 * 4 + 2) * elements, [&] {
        kernels::rmsnorm_forward(out, rstd, sum, in, branch, weight.view(), 1e-5F, table.stream());
    });
    Tensor const d_weight(table.arena(), "benchmark", DType::f32, {hidden});
    by_memory.measure("RMSNorm backward" + size, (4 * 4 + 2) * elements, [&] {
        kernels::rmsnorm_backward(sum, out, Accumulate::add, d_weight, branch, in, rstd, weight.view(), table.stream());
    });
}

void measure_cross_entropy(Table& table, ByMemory& by_memory, std::int64_t rows, std::int64_t vocabulary) {
    Tensor const logits = random_tensor(table, {rows, vocabulary}, DType::f32);
    Tensor const gradient(table.arena(), "benchmark", DType::bf16, {rows, vocabulary});
    Tensor const sums(table.arena(), "benchmark", DType::f32, {rows});
    Tensor const weight = random_tensor(table, {rows}, DType::f32);
    Tensor const targets(table.arena(), "benchmark", DType::i32, {rows});  // zeros
    auto const elements = static_cast<double>(rows * vocabulary);
    by_memory.measure(fmt::format("cross entropy of {} x {}, both ways", rows, vocabulary), (2 * 4 + 2) * elements,
                      [&] {
                          kernels::log_sum_exp(sums, logits, table.stream());
                          kernels::cross_entropy_backward(gradient, logits, sums, targets, weight, table.stream());
                      });
}

}  // namespace

void measure_kernels(Table& table, Ceilings const& ceilings, bool tiny) {
    table.title("Operations bound by memory");
    ByMemory by_memory(table, ceilings);
    measure_adamw(table, by_memory, tiny ? 1 << 12 : 1 << 28);
    measure_norms(table, by_memory, tiny ? 16 : 32768, tiny ? 64 : 2048);
    measure_cross_entropy(table, by_memory, tiny ? 4 : 8192, tiny ? 512 : 50304);
}

}  // namespace selvage::bench
