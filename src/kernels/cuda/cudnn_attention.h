// SPDX-License-Identifier: Apache-2.0
#pragma once
// Attention in bf16 by cuDNN, where batch invariance is not asked for. Other builds than those with SELVAGE_CUDNN have
// functions that do nothing. Host threads must not call it at the same time.
#include <string>

#include "kernels/attention.h"

namespace selvage::kernels::cuda {

// As the functions of kernels/attention.h, of arguments that were checked. False: not done, our own kernels' to do; for
// each kind and size of heads that is said once in the log, with the reason. Plans are made for numbers of sequences
// and lengths up to some powers of two, at the first call with fewer or shorter ones (some 0.5 s): not while a stream
// is recorded.
bool library_attention_forward(TensorView out, TensorView log_sum_exp, TensorView queries, KvPages const& pages,
                               std::span<AttentionSegment const> segments, std::int64_t heads,
                               AttentionOptions const& options, Stream& stream);
bool library_attention_backward(TensorView d_queries, TensorView d_keys, TensorView d_values, TensorView d_out,
                                TensorView out, TensorView log_sum_exp, TensorView queries, TensorView keys,
                                TensorView values, std::span<AttentionSegment const> segments,
                                AttentionOptions const& options, Stream& stream);

// For the log: what attention goes by without batch invariance.
std::string library_attention();

}  // namespace selvage::kernels::cuda
