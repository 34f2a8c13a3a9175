// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/cpu/table.h"

namespace selvage::kernels {

// All blocks of one sequence and key-value head, by one thread.
template <class T>
void attention_backward_whole(AttentionBackwardKernels<T> const& kernels, AttentionBackward<T> const& t) {
    std::int64_t const blocks = AttentionPacked<T>(t.head_size, t.rows, t.group).blocks;
    for (std::int64_t index = 0; index < blocks; ++index) kernels.pack(t, index);
    for (std::int64_t key_index = 0; key_index < blocks; ++key_index) {
        kernels.begin_keys(t);
        for (std::int64_t head = 0; head < t.group; ++head) kernels.row_blocks(t, key_index, head, key_index, blocks);
        kernels.end_keys(t, key_index);
    }
}

}  // namespace selvage::kernels
