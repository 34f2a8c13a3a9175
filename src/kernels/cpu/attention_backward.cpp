// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/attention_backward.h"
#include "kernels/cpu/attention_window.h"
#include "kernels/cpu/operations.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <type_traits>
#include <vector>

#include "kernels/attention_arguments.h"
#include "kernels/cpu/workspace.h"

namespace selvage::kernels::cpu {
namespace {

// One sequence and key-value head.
template <class T>
struct Unit {
    AttentionBackward<T> work;
    AttentionPacked<T> size;
    std::int64_t first_progress;  // of its blocks of keys, in the list of all
};

// One block of keys of a unit.
struct Task {
    std::size_t unit;
    std::int64_t key_index;
};

template <class T>
AttentionBackwardKernels<T> const& kernels_of(KernelTable const& table) {
    if constexpr (std::is_same_v<T, float>)
        return table.attention_backward;
    else
        return table.attention_backward_bf16;
}

// Lists outlive their call, so that steps do not allocate.
template <class T>
struct Pass {
    AttentionBackwardKernels<T> const& kernels = kernels_of<T>(kernel_table());
    std::vector<Unit<T>> units;
    std::vector<Task> tasks;
    std::vector<std::int64_t> progress;  // blocks of rows done, per block of keys
    std::vector<float> packed;

    // A thread takes units one after the other.
    void run_whole() {
        auto const count = static_cast<std::int64_t>(units.size());
#pragma omp parallel for schedule(dynamic, 1) if (count > 1 && omp_get_max_threads() > 1)
        for (std::int64_t i = 0; i < count; ++i) {
            thread_local std::vector<float> memory;
            Unit<T>& unit = units[static_cast<std::size_t>(i)];
            unit.work.packed = aligned_floats(memory, unit.size.floats() + unit.size.workspace_floats());
            unit.work.workspace = unit.work.packed + unit.size.floats();
            attention_backward_whole(kernels, unit.work);
        }
    }

    // A thread takes blocks of keys, the first ones of all units first. A block of rows waits for the block of keys
    // before, which a thread took earlier: none waits for one that is not under way.
    void run_pipelined() {
        std::int64_t floats = 0;
        std::int64_t most = 0;
        std::int64_t blocks = 0;
        for (Unit<T>& unit : units) {
            unit.first_progress = blocks;
            blocks += unit.size.blocks;
            floats += unit.size.floats();
            most = std::max(most, unit.size.blocks);
        }
        progress.assign(static_cast<std::size_t>(blocks), 0);
        float* memory = aligned_floats(packed, floats);
        for (Unit<T>& unit : units) {
            unit.work.packed = memory;
            memory += unit.size.floats();
        }
        tasks.clear();
        for (std::int64_t key_index = 0; key_index < most; ++key_index)
            for (std::size_t i = 0; i < units.size(); ++i)
                if (key_index < units[i].size.blocks) tasks.push_back({i, key_index});
        std::atomic<std::size_t> next = 0;
#pragma omp parallel
        {
#pragma omp for schedule(dynamic, 1)
            for (std::size_t i = 0; i < tasks.size(); ++i) kernels.pack(units[tasks[i].unit].work, tasks[i].key_index);
            for (std::size_t i = next++; i < tasks.size(); i = next++) run(tasks[i]);
        }
    }

    void run(Task const& task) {
        thread_local std::vector<float> memory;
        Unit<T> const& unit = units[task.unit];
        AttentionBackward<T> work = unit.work;
        work.workspace = aligned_floats(memory, unit.size.workspace_floats());
        auto const at = static_cast<std::size_t>(unit.first_progress + task.key_index);
        std::int64_t const own_rows = unit.size.blocks - task.key_index;
        std::atomic_ref<std::int64_t> const own(progress[at]);
        kernels.begin_keys(work);
        for (std::int64_t head = 0; head < work.group; ++head)
            for (std::int64_t row = task.key_index; row < unit.size.blocks; ++row) {
                if (task.key_index > 0) {
                    std::atomic_ref<std::int64_t> const before(progress[at - 1]);
                    std::int64_t const needed = head * (own_rows + 1) + row - task.key_index + 2;
                    while (before.load(std::memory_order_acquire) < needed) std::this_thread::yield();
                }
                kernels.row_blocks(work, task.key_index, head, row, row + 1);
                own.store(head * own_rows + row - task.key_index + 1, std::memory_order_release);
            }
        kernels.end_keys(work, task.key_index);
    }
};

template <class T>
void backward(TensorView d_queries, TensorView d_keys, TensorView d_values, TensorView d_out, TensorView out,
              TensorView log_sum_exp, TensorView queries, TensorView keys, TensorView values,
              std::span<AttentionSegment const> segments, AttentionOptions const& options) {
    static Pass<T> pass;
    std::int64_t const heads = queries.dim(1);
    std::int64_t const kv_heads = keys.dim(1);
    std::int64_t const size = queries.dim(2);
    std::int64_t const group = heads / kv_heads;
    bool many_blocks = false;
    pass.units.clear();
    for (AttentionSegment const& segment : segments)
        for (std::int64_t kv_head = 0; kv_head < kv_heads && segment.rows > 0; ++kv_head) {
            std::int64_t const row_head = segment.first_row * heads + kv_head * group;
            std::int64_t const row_kv_head = segment.first_row * kv_heads + kv_head;
            pass.units.push_back({.work = {.d_queries = d_queries.as<T>() + row_head * size,
                                           .d_keys = d_keys.as<T>() + row_kv_head * size,
                                           .d_values = d_values.as<T>() + row_kv_head * size,
                                           .d_out = d_out.as<T>() + row_head * size,
                                           .out = out.as<T>() + row_head * size,
                                           .log_sum_exp = log_sum_exp.as<float>() + row_head,
                                           .queries = queries.as<T>() + row_head * size,
                                           .keys = keys.as<T>() + row_kv_head * size,
                                           .values = values.as<T>() + row_kv_head * size,
                                           .rows = segment.rows,
                                           .query_stride = heads * size,
                                           .key_stride = kv_heads * size,
                                           .heads = heads,
                                           .group = group,
                                           .head_size = size,
                                           .scale = options.scale,
                                           .softcap = options.softcap,
                                           .window = window_of(options)},
                                  .size = AttentionPacked<T>(size, segment.rows, group),
                                  .first_progress = 0});
            many_blocks = many_blocks || pass.units.back().size.blocks > 1;
        }
    std::int64_t const threads = omp_get_max_threads();
    // Whole units need no waiting and stay in one core's cache; with few of them the last ones would leave threads
    // idle.
    if (threads > 1 && many_blocks && static_cast<std::int64_t>(pass.units.size()) < 4 * threads)
        pass.run_pipelined();
    else
        pass.run_whole();
}

}  // namespace

void attention_backward(TensorView d_queries, TensorView d_keys, TensorView d_values, TensorView d_out, TensorView out,
                        TensorView log_sum_exp, TensorView queries, TensorView keys, TensorView values,
                        std::span<AttentionSegment const> segments, AttentionOptions const& options, Stream&) {
    if (segments.empty() || queries.empty()) return;
    check_backward(queries, keys, segments);
    if (queries.dtype() == DType::bf16)
        backward<BFloat16>(d_queries, d_keys, d_values, d_out, out, log_sum_exp, queries, keys, values, segments,
                           options);
    else
        backward<float>(d_queries, d_keys, d_values, d_out, out, log_sum_exp, queries, keys, values, segments, options);
}

void fill_attention_backward(Operations& operations) { operations.attention_backward = attention_backward; }

}  // namespace selvage::kernels::cpu
