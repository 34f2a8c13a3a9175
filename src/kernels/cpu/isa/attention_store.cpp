// SPDX-License-Identifier: Apache-2.0
// Keys and values into the layouts of a page.
#include "kernels/cpu/isa/fill.h"
#include "kernels/cpu/isa/pair_product.h"

namespace selvage::kernels::SELVAGE_ISA {
namespace {

constexpr std::int64_t page_tokens = 64;

std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

void store_keys(float* to, float const* from, std::int64_t stride, std::int64_t slot, std::int64_t count,
                std::int64_t size) {
    if (count < 4) {
        for (std::int64_t i = 0; i < count; ++i)
            for (std::int64_t d = 0; d < size; ++d) to[d * page_tokens + slot + i] = from[i * stride + d];
        return;
    }
    for (std::int64_t token = 0; token < count; token += lanes)
        for (std::int64_t d = 0; d < size; d += lanes) {
            F16 x[lanes];
            for (int i = 0; i < lanes; ++i)
                x[i] = token + i < count ? load(from + (token + i) * stride + d, size - d) : set(0.0F);
            transpose(x);
            for (int i = 0; i < lanes && d + i < size; ++i)
                store(to + (d + i) * page_tokens + slot + token, x[i], count - token);
        }
}

// To [4][size / 2][16][2].
void store_keys_bf16(BFloat16* to, BFloat16 const* from, std::int64_t stride, std::int64_t slot, std::int64_t count,
                     std::int64_t size) {
    for (std::int64_t i = 0, tokens = 0; i < count; i += tokens) {
        std::int64_t const lane = (slot + i) % lanes;
        BFloat16* const tile = to + (slot + i - lane) * size + 2 * lane;
        tokens = smaller(count - i, lanes - lane);
        if (tokens < 4) {
            for (std::int64_t j = 0; j < tokens; ++j)
                for (std::int64_t d = 0; d < size; d += 2)
                    __builtin_memcpy(tile + d * lanes + 2 * j, from + (i + j) * stride + d, 2 * sizeof(BFloat16));
        } else {
            pack_transposed_pairs(tile, 2 * lanes, size, from + i * stride, stride, tokens, size, tokens);
        }
    }
}

void store_values_bf16(BFloat16* to, BFloat16 const* from, std::int64_t stride, std::int64_t slot, std::int64_t count,
                       std::int64_t size) {
    auto const one = [&](std::int64_t i) {
        BFloat16* const p = to + (slot + i) / 2 * 2 * size + (slot + i) % 2;
        for (std::int64_t d = 0; d < size; ++d) p[2 * d] = from[i * stride + d];
    };
    std::int64_t i = 0;
    if (slot % 2 != 0 && count > 0) one(i++);
    for (; i + 1 < count; i += 2)
        for (std::int64_t d = 0; d < size; d += lanes) {
            BFloat16 const* const p = from + i * stride + d;
            store_words(to + (slot + i) * size + 2 * d, pairs_of(load(p, size - d), load(p + stride, size - d)),
                        size - d);
        }
    if (i < count) one(i);
}

}  // namespace

void fill_attention_store(KernelTable& table) {
    table.store_keys = store_keys;
    table.store_keys_bf16 = store_keys_bf16;
    table.store_values_bf16 = store_values_bf16;
}

}  // namespace selvage::kernels::SELVAGE_ISA
