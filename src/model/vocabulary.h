// SPDX-License-Identifier: Apache-2.0
#pragma once
// From logits to probabilities, tokens and gradients, on a vocabulary that is split over the ranks of an axis. Logits
// stay where they are: what goes from rank to rank is a pair of floats per vocabulary block and row, sums of whole
// numbers, and few candidates.
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "device/device.h"
#include "kernels/sampling.h"
#include "tensor/layout.h"
#include "tensor/tensor.h"

namespace selvage {

// How a vocabulary is split: into whole blocks (kernels/softmax.h) where every rank gets one.
std::vector<Range> vocabulary_parts(std::int64_t size, std::int64_t ranks);

// The calls are those of kernels/{softmax,cross_entropy,sampling}.h, which they are with one rank. With more they are
// collective over the axis: logits are [rows, ids of this rank], all else is of the whole vocabulary and the same on
// every rank, arguments and (bit by bit) results. Tokens and their log-probabilities are those that one rank would draw
// from the whole logits. So is the log-sum-exp, where all parts but the last are whole blocks; otherwise its blocks are
// those of each part.
class Vocabulary {
  public:
    // parts: the ids of each rank, in rank order, none empty, without gaps from 0 on. arena: of the device that the
    // tensors lie on (null: host memory). Keeps references to both.
    Vocabulary(Communicator& axis, std::vector<Range> const& parts, Arena* arena = nullptr);
    Vocabulary(Vocabulary&&) noexcept;
    Vocabulary& operator=(Vocabulary&&) noexcept;
    ~Vocabulary();

    std::int64_t size() const { return size_; }
    // The ids of this rank.
    Range part() const { return part_; }

    void log_sum_exp(TensorView log_sum_exp, TensorView logits, Stream& stream);
    void target_log_probability(TensorView out, TensorView logits, TensorView log_sum_exp, TensorView targets,
                                Stream& stream);
    void cross_entropy_backward(TensorView d_logits, TensorView logits, TensorView log_sum_exp, TensorView targets,
                                TensorView weight, Stream& stream);
    void argmax(TensorView out, TensorView logits, std::int64_t ids, Stream& stream);
    void sample(TensorView tokens, TensorView log_probability, TensorView log_sum_exp, TensorView logits,
                std::int64_t ids, std::span<kernels::Sampling const> rows, Stream& stream);

  private:
    class Shards;

    void check(TensorView logits, std::int64_t outputs) const;
    void check_targets(TensorView targets) const;

    std::int64_t size_;
    Range part_;
    std::unique_ptr<Shards> shards_;  // null: one rank
};

}  // namespace selvage
