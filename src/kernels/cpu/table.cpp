// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/table.h"

#include <cstdlib>
#include <string>
#include <string_view>

namespace selvage::kernels {
namespace portable {
void fill_table(KernelTable& table);
}
#ifdef SELVAGE_HAVE_X86
namespace avx2 {
void fill_table(KernelTable& table);
}
namespace avx512 {
void fill_table(KernelTable& table);
}
#endif

namespace {

using Fill = void (*)(KernelTable&);
KernelTable make(Fill fill) {
    KernelTable table;
    fill(table);
    return table;
}

#ifdef SELVAGE_HAVE_X86
bool has_avx2() {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}
bool has_avx512() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

// What the environment allows: the variable that oneDNN reads (ONEDNN_ from version 3 on), so that one setting
// restricts both.
std::string_view allowed() {
    char const* value = std::getenv("ONEDNN_MAX_CPU_ISA");
    if (value == nullptr) value = std::getenv("DNNL_MAX_CPU_ISA");
    std::string_view const text = value == nullptr ? "" : value;
    if (text.empty() || text == "DEFAULT" || text == "ALL" || text.starts_with("AVX512") || text.starts_with("AVX10"))
        return "avx512";
    return text.starts_with("AVX2") ? "avx2" : "portable";
}

}  // namespace

KernelTable const* kernel_table(char const* name) {
    std::string_view const wanted = name;
    static KernelTable const portable_table = make(portable::fill_table);
    if (wanted == "portable") return &portable_table;
#ifdef SELVAGE_HAVE_X86
    static KernelTable const avx2_table = make(avx2::fill_table);
    static KernelTable const avx512_table = make(avx512::fill_table);
    if (wanted == "avx2" && has_avx2()) return &avx2_table;
    if (wanted == "avx512" && has_avx512()) return &avx512_table;
#endif
    return nullptr;
}

KernelTable const& kernel_table() {
    static KernelTable const& chosen = []() -> KernelTable const& {
        std::string_view const limit = allowed();
        if (limit == "avx512")
            if (auto const* table = kernel_table("avx512")) return *table;
        if (limit != "portable")
            if (auto const* table = kernel_table("avx2")) return *table;
        return *kernel_table("portable");
    }();
    return chosen;
}

}  // namespace selvage::kernels
