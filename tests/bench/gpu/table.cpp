// SPDX-License-Identifier: Apache-2.0
#include "gpu/table.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "base/timer.h"
#include "kernels/batch_invariance.h"

namespace selvage::bench {

double Table::seconds_of(std::function<void()> const& work) {
    auto const timed = [&](std::int64_t times) {
        Timer const timer;
        for (std::int64_t i = 0; i < times; ++i) work();
        stream_.synchronize();
        return timer.seconds();
    };
    timed(2);  // what is made or chosen when it is first used
    std::array<double, 5> batches{};
    double const each = seconds_ / static_cast<double>(batches.size());
    auto const times = static_cast<std::int64_t>(std::clamp(std::ceil(each / timed(1)), 1.0, 1e5));
    for (double& batch : batches) batch = timed(times) / static_cast<double>(times);
    std::ranges::nth_element(batches, batches.begin() + 2);
    return batches[2];
}

void Table::title(std::string const& text) const { std::printf("\n%s\n", text.c_str()); }

void Table::line(std::string const& name, double value, std::string const& unit, double share) const {
    std::string const of_ceiling = share > 0 ? fmt::format("{:6.1f} % of the ceiling", 100 * share) : "";
    std::printf("%s\n", fmt::format("  {:<52} {:>12.4g} {:<10} {}", name, value, unit, of_ceiling).c_str());
    std::fflush(stdout);
}

void Table::with_and_without_invariance(std::function<void(std::string const& how)> const& measure) const {
    DeviceKind const device = arena_.device().kind();
    measure("");
    kernels::set_batch_invariant(false, device);
    measure(", free");
    kernels::set_batch_invariant(true, device);
}

void Table::where_it_fits(std::string const& name, std::function<void()> const& make) const {
    try {
        make();
    } catch (Error const& error) {
        if (error.code() != ExitCode::system) throw;
        std::printf("  %-52s not measured: %s\n", name.c_str(), error.what());
    }
}

}  // namespace selvage::bench
