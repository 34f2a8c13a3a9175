// SPDX-License-Identifier: Apache-2.0
// Times single operations with the shapes of the 124M model (Google Benchmark). OMP_NUM_THREADS is the number of
// threads; --benchmark_filter=attention chooses cases.
#include "base/philox.h"
#include "kernels/activation.h"
#include "kernels/gemm.h"
#include "operations/operation.h"

namespace selvage::bench {

Arena& arena() {
    static std::unique_ptr<Device> const device = make_device("cpu");
    static Arena one(*device);
    return one;
}

Stream& stream() {
    static Stream one(DeviceKind::cpu);
    return one;
}

Tensor random_tensor(Shape shape, DType dtype, std::int32_t below) {
    static std::uint32_t number = 0;
    Random const random(7, Purpose::test);
    ++number;
    auto const draw = [&](std::int64_t i) { return random.uniform({number, static_cast<std::uint32_t>(i), 0}); };
    Tensor tensor(arena(), "benchmark", dtype == DType::bf16 ? DType::f32 : dtype, shape);
    for (std::int64_t i = 0; i < shape.elements(); ++i) {
        if (dtype == DType::i32)
            tensor.view().as<std::int32_t>()[i] = static_cast<std::int32_t>(below * draw(i));
        else
            tensor.view().as<float>()[i] = static_cast<float>(draw(i) - 0.5);
    }
    if (dtype != DType::bf16) return tensor;
    Tensor rounded(arena(), "benchmark", dtype, shape);
    kernels::convert(rounded, tensor, stream());
    return rounded;
}

void add_case(std::string const& name, Cost cost, std::function<Call()> make) {
    benchmark::RegisterBenchmark(name.c_str(), [cost, make = std::move(make)](benchmark::State& state) {
        Call const call = make();
        call();
        for (auto _ : state) call();
        auto const rate = [](double amount) {
            return benchmark::Counter(1e-9 * amount, benchmark::Counter::kIsIterationInvariantRate);
        };
        if (cost.operations > 0) state.counters["GFLOP"] = rate(cost.operations);
        if (cost.bytes > 0) state.counters["GB"] = rate(cost.bytes);
    })->UseRealTime();
}

}  // namespace selvage::bench

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 64;
    auto const& report = selvage::kernels::choose_gemm();
    benchmark::AddCustomContext("instruction_set", report.instruction_set);
    benchmark::AddCustomContext("library", report.library);
    selvage::bench::add_products();
    selvage::bench::add_attention();
    selvage::bench::add_elementwise();
    selvage::bench::add_vocabulary();
    benchmark::RunSpecifiedBenchmarks();
}
