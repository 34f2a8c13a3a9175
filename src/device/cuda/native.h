// SPDX-License-Identifier: Apache-2.0
#pragma once
// launch() and the instructions that CUDA C++ has no name for. emulation/instructions.h has the same names and says
// what they do.

#include <cstdint>
#include <utility>

#include "device/cuda/check.h"
#include "device/device.h"

#define SELVAGE_DYNAMIC_SHARED(type, name)                           \
    extern __shared__ __align__(128) unsigned char selvage_shared[]; \
    type* const name = reinterpret_cast<type*>(selvage_shared)

namespace selvage {

__device__ inline void mma_m16n8k16(float (&d)[4], std::uint32_t const (&a)[4], std::uint32_t const (&b)[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ inline std::uint32_t shared_address(void const* shared) {
    return static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
}

__device__ inline void load_matrices(std::uint32_t (&registers)[4], void const* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"(shared_address(row))
                 : "memory");
}
__device__ inline void load_matrices_transposed(std::uint32_t (&registers)[4], void const* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"(shared_address(row))
                 : "memory");
}

__device__ inline void cp_async(void* shared, void const* global, int bytes = 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(bytes)
                 : "memory");
}
__device__ inline void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int groups>
__device__ void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(groups) : "memory");
}

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes, Stream& stream,
            Arguments&&... arguments) {
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    if (shared_bytes > 48 * 1024)  // more must be asked for
        SELVAGE_CUDA_CHECK(cudaFuncSetAttribute(reinterpret_cast<void const*>(kernel),
                                                cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                static_cast<int>(shared_bytes)));
    kernel<<<grid, block, shared_bytes, static_cast<cudaStream_t>(stream.native())>>>(
        std::forward<Arguments>(arguments)...);
    SELVAGE_CUDA_CHECK(cudaGetLastError());
}

}  // namespace selvage
