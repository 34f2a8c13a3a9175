// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <vector>

#include "base/error.h"
#include "base/philox.h"
#include "driver/modes.h"
#include "gpu/cases.h"
#include "kernels/activation.h"
#include "kernels/gemm.h"
#include "kernels/threads.h"
#include "tensor/host_copy.h"

namespace selvage::bench {

Tensor random_tensor(Table& table, Shape const& shape, DType dtype) {
    static std::uint32_t number = 0;
    ++number;
    // One period of numbers for large tensors: to draw all of them on the host would take longer than to measure.
    constexpr std::int64_t period = 1 << 20;
    Random const random(7, Purpose::test);
    std::int64_t const count = std::min(shape.elements(), period);
    std::vector<float> values(static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count; ++i)
        values[static_cast<std::size_t>(i)] =
            static_cast<float>(random.uniform({number, static_cast<std::uint32_t>(i), 0}) - 0.5);
    Tensor tensor(table.arena(), "benchmark", dtype, shape);
    Tensor part(table.arena(), "benchmark", DType::f32, {count});
    copy_to_device(part, values.data(), table.stream());
    TensorView const flat = tensor.view().reshape({shape.elements()});
    for (std::int64_t first = 0; first < shape.elements(); first += count) {
        std::int64_t const size = std::min(count, shape.elements() - first);
        TensorView const to = flat.rows(first, first + size), from = part.view().rows(0, size);
        if (dtype == DType::bf16)
            kernels::convert(to, from, table.stream());
        else
            table.stream().queue()->copy(to.raw(), from.raw(), static_cast<std::size_t>(size) * sizeof(float));
    }
    table.stream().synchronize();
    return tensor;
}

void gpu(MpiSession& mpi, Options const& options) {
    if (mpi.world()->size() != 1) fail(ExitCode::usage, "the table is made by one process; start it without mpirun");
    kernels::set_threads(options.threads);
    kernels::choose_gemm();
    std::unique_ptr<Device> const device = make_device(options.device);
    if (device->kind() == DeviceKind::cpu) fail(ExitCode::usage, "--device is cpu; give cuda or emulated");
    Arena arena(*device);
    bool const tiny = options.model == "tiny";
    Table table(arena, options.seconds);
    std::printf("device: %s\n", device->description().c_str());
    Ceilings const ceilings = measure_ceilings(table, tiny);
    measure_kernels(table, ceilings, tiny);
    measure_attention(table, ceilings, tiny);
    measure_jobs(mpi, table, ceilings, options);
}

}  // namespace selvage::bench
