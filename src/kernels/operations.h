// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a backend implements: one function per operation, with the signature and the promises of the operation's header.
// Callers use those headers' functions, which go by their stream's device.
#include "kernels/activation.h"
#include "kernels/adamw.h"
#include "kernels/attention.h"
#include "kernels/attention_plan.h"
#include "kernels/cross_entropy.h"
#include "kernels/embedding.h"
#include "kernels/gemm.h"
#include "kernels/norm.h"
#include "kernels/rotary.h"
#include "kernels/sampling.h"
#include "kernels/softmax.h"
#include "kernels/vocabulary_shard.h"

namespace selvage::kernels {

struct Operations {
    // Of kernels/gemm.h, with plain and with packed weights.
    void (*linear_forward)(TensorView out, TensorView in, TensorView weight, TensorView bias, Stream& stream) = nullptr;
    void (*linear_forward_packed)(TensorView out, TensorView in, PackedWeight::Form const& weight, TensorView bias,
                                  Stream& stream) = nullptr;
    void (*linear_backward_input)(TensorView d_in, TensorView d_out, TensorView weight, Accumulate accumulate,
                                  Stream& stream) = nullptr;
    void (*linear_backward_input_packed)(TensorView d_in, TensorView d_out, PackedWeight::Form const& weight,
                                         Accumulate accumulate, Stream& stream) = nullptr;
    decltype(&kernels::linear_backward_weights) linear_backward_weights = nullptr;
    std::unique_ptr<PackedWeight::Form> (*pack_weight)(Arena& arena, TensorView weight, DType dtype,
                                                       PackedWeight::Use use) = nullptr;

    decltype(&kernels::gated_forward) gated_forward = nullptr;
    decltype(&kernels::gated_backward) gated_backward = nullptr;
    decltype(&kernels::gelu_forward) gelu_forward = nullptr;
    decltype(&kernels::gelu_backward) gelu_backward = nullptr;
    decltype(&kernels::softcap_forward) softcap_forward = nullptr;
    decltype(&kernels::softcap_backward) softcap_backward = nullptr;
    decltype(&kernels::add_in_place) add_in_place = nullptr;
    decltype(&kernels::scale_in_place) scale_in_place = nullptr;
    decltype(&kernels::add_to_rows) add_to_rows = nullptr;
    decltype(&kernels::fill) fill = nullptr;
    decltype(&kernels::add_column_sums) add_column_sums = nullptr;
    decltype(&kernels::convert) convert = nullptr;
    decltype(&kernels::adamw_update) adamw_update = nullptr;
    decltype(&kernels::block_sums_of_squares) block_sums_of_squares = nullptr;
    decltype(&kernels::store_kv) store_kv = nullptr;
    decltype(&kernels::attention_forward) attention_forward = nullptr;
    void (*make_attention_plan)(AttentionPlan& plan, AttentionPlan::Sizes sizes, Stream& stream) = nullptr;
    decltype(&kernels::store_planned_kv) store_planned_kv = nullptr;
    decltype(&kernels::planned_attention_forward) planned_attention_forward = nullptr;
    decltype(&kernels::attention_backward) attention_backward = nullptr;
    decltype(&kernels::cross_entropy_backward) cross_entropy_backward = nullptr;
    decltype(&kernels::embedding_forward) embedding_forward = nullptr;
    decltype(&kernels::embedding_backward) embedding_backward = nullptr;
    decltype(&kernels::gather_rows) gather_rows = nullptr;
    decltype(&kernels::scatter_rows) scatter_rows = nullptr;
    decltype(&kernels::rmsnorm_forward) rmsnorm_forward = nullptr;
    decltype(&kernels::rmsnorm_backward) rmsnorm_backward = nullptr;
    decltype(&kernels::layernorm_forward) layernorm_forward = nullptr;
    decltype(&kernels::layernorm_backward) layernorm_backward = nullptr;
    decltype(&kernels::rotary_forward) rotary_forward = nullptr;
    decltype(&kernels::rotary_backward) rotary_backward = nullptr;
    decltype(&kernels::sample) sample = nullptr;
    decltype(&kernels::log_sum_exp) log_sum_exp = nullptr;
    decltype(&kernels::target_log_probability) target_log_probability = nullptr;
    decltype(&kernels::argmax) argmax = nullptr;
    decltype(&kernels::block_sums) block_sums = nullptr;
    decltype(&kernels::merge_block_sums) merge_block_sums = nullptr;
    decltype(&kernels::shard_argmax) shard_argmax = nullptr;
    decltype(&kernels::shard_target_log_probability) shard_target_log_probability = nullptr;
    decltype(&kernels::shard_cross_entropy_backward) shard_cross_entropy_backward = nullptr;
    decltype(&kernels::shard_weights) shard_weights = nullptr;
    decltype(&kernels::measure_weights) measure_weights = nullptr;
    decltype(&kernels::candidates_between) candidates_between = nullptr;
    decltype(&kernels::kept_totals) kept_totals = nullptr;
    decltype(&kernels::draw_in_blocks) draw_in_blocks = nullptr;
};

Operations const& operations(Stream const& stream);

}  // namespace selvage::kernels
