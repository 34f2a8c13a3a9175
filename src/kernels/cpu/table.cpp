// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/table.h"

#include <cstdlib>
#include <string>
#include <string_view>

#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

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
namespace avx512_bf16 {
void fill_table(KernelTable& table);
}
namespace amx {
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
bool has_avx512_bf16() { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }
// Linux gives a process the tile registers when it asks for them (arch_prctl(2), ARCH_REQ_XCOMP_PERM).
bool has_amx() {
#ifdef __linux__
    constexpr int request_permission = 0x1023;
    constexpr int tile_data = 18;
    return has_avx512_bf16() && __builtin_cpu_supports("amx-bf16") &&
           syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
    return false;
#endif
}
#endif

// Ascending.
constexpr std::string_view names[] = {"portable", "avx2", "avx512", "avx512_bf16", "amx"};

// The best that the environment allows: the variable that oneDNN reads (ONEDNN_ from version 3 on), so that one setting
// restricts both.
std::string_view allowed() {
    char const* value = std::getenv("ONEDNN_MAX_CPU_ISA");
    if (value == nullptr) value = std::getenv("DNNL_MAX_CPU_ISA");
    std::string_view const text = value == nullptr ? "" : value;
    if (text.empty() || text == "DEFAULT" || text == "ALL" || text.ends_with("_AMX") || text.ends_with("_AMX_FP16"))
        return "amx";
    if (text == "AVX512_CORE_BF16" || text == "AVX512_CORE_FP16" || text.starts_with("AVX10")) return "avx512_bf16";
    if (text.starts_with("AVX512")) return "avx512";
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
    static KernelTable const avx512_bf16_table = make(avx512_bf16::fill_table);
    static KernelTable const amx_table = make(amx::fill_table);
    if (wanted == "avx2" && has_avx2()) return &avx2_table;
    if (wanted == "avx512" && has_avx512()) return &avx512_table;
    if (wanted == "avx512_bf16" && has_avx512_bf16()) return &avx512_bf16_table;
    if (wanted == "amx" && has_amx()) return &amx_table;
#endif
    return nullptr;
}

KernelTable const& kernel_table() {
    static KernelTable const& chosen = []() -> KernelTable const& {
        KernelTable const* best = nullptr;
        for (std::string_view const name : names) {
            if (auto const* table = kernel_table(name.data())) best = table;
            if (name == allowed()) break;
        }
        return *best;
    }();
    return chosen;
}

}  // namespace selvage::kernels
