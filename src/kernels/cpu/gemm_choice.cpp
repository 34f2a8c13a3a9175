// SPDX-License-Identifier: Apache-2.0
// The self-check: does the library keep the defined order here, with this processor and number of threads?
#include <fmt/core.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/cpu/gemm_ways.h"
#include "kernels/cpu/table.h"
#include "kernels/gemm.h"

namespace selvage::kernels {
namespace {

struct CheckedShape {
    std::int64_t m, n, k;
};
// Row counts, odd sizes, and the places where the order of K blocks changes.
constexpr CheckedShape shapes[] = {{8, 64, 64},     {9, 100, 300},   {64, 64, 512},   {17, 256, 513},
                                   {300, 64, 768},  {33, 200, 1024}, {48, 64, 1025},  {65, 100, 1100},
                                   {24, 256, 1536}, {8, 128, 2048},  {100, 48, 2500}, {64, 64, 4096}};

// Numbers of many sizes, so that another order shows in the bits; a small linear congruential generator.
std::vector<float> values(std::int64_t count, std::uint32_t seed) {
    std::vector<float> result(static_cast<std::size_t>(count));
    std::uint32_t state = seed;
    for (float& value : result) {
        state = state * 1664525U + 1013904223U;
        value = static_cast<float>(static_cast<std::int32_t>(state)) * 0x1p-31F;
    }
    return result;
}

// Empty: the product keeps the order.
std::string difference(CheckedShape const& shape) {
    auto const [m, n, k] = shape;
    std::vector<float> const a = values(m * k, 1);
    std::vector<float> const b = values(n * k, 2);
    std::vector<float> panels(static_cast<std::size_t>(panel_count(n) * panel_elements(k)));
    pack_panels(panels.data(), b.data(), true, n, k);
    std::vector<float> own(static_cast<std::size_t>(m * n));
    std::vector<float> others = own;
    MatrixProduct product{.c = own.data(), .a = a.data(), .panels = panels.data(), .m = m, .n = n, .k = k};
    ordered_product(product);
    product.c = others.data();
    if (!library_product(product)) return "";  // always goes our own way
    if (std::memcmp(own.data(), others.data(), own.size() * sizeof(float)) == 0) return "";
    return fmt::format("another order of sums in [{}, {}] x [{}, {}]", m, k, k, n);
}

GemmReport decide() {
    GemmReport report{.way = GemmWay::ordered, .instruction_set = kernel_table().name, .library = "", .reason = ""};
    std::string const implementation = library_implementation();
    report.library = library_name() + (implementation.empty() ? "" : ", " + implementation);
    char const* const wish = std::getenv("SELVAGE_GEMM");
    std::string_view const way = wish == nullptr ? "" : wish;
    if (way == "ordered") {
        report.reason = "SELVAGE_GEMM asks for our own loops";
        return report;
    }
    if (!way.empty() && way != "library")
        fail(ExitCode::usage, "SELVAGE_GEMM is \"{}\"; set it to \"library\" or \"ordered\", or unset it", way);
    if (implementation.empty()) {
        report.reason = "it has no implementation here whose order of sums is known";
        return report;
    }
    for (CheckedShape const& shape : shapes) {
        report.reason = difference(shape);
        if (!report.reason.empty()) return report;
    }
    report.way = GemmWay::library;
    return report;
}

}  // namespace

GemmReport const& choose_gemm() {
    static GemmReport const report = decide();
    return report;
}

}  // namespace selvage::kernels
