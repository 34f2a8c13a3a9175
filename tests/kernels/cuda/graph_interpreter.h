// SPDX-License-Identifier: Apache-2.0
#pragma once
// What an operation graph says, computed in double in host memory, operation by operation.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <vector>

#include "kernels/buffer.h"
#include "kernels/cuda/cudnn_graph.h"

namespace selvage::test {

class GraphInterpreter {
  public:
    using Graph = kernels::cuda::cudnn::Graph;
    using GraphTensor = kernels::cuda::cudnn::GraphTensor;
    using Operation = kernels::cuda::cudnn::Operation;
    using Id = kernels::cuda::cudnn::Id;
    using Four = kernels::cuda::cudnn::Four;
    using Values = std::vector<double>;

    // Tensors in host memory; others keep their values inside. `lengths` and `key_lengths`: of the rows and positions
    // of each sequence, beyond which nothing is read or written in memory.
    GraphInterpreter(Graph const& graph, std::map<Id, void*> memory, std::int32_t const* lengths,
                     std::int32_t const* key_lengths)
        : graph_(graph), memory_(std::move(memory)), lengths_(lengths), key_lengths_(key_lengths) {}

    void run() {
        for (Operation const& operation : graph_.operations()) {
            Values result(count(graph_[operation.y].sizes), 0);
            switch (operation.kind) {
                case Operation::Kind::pointwise:
                    pointwise(operation, result);
                    break;
                case Operation::Kind::reduction:
                    reduction(operation, result);
                    break;
                case Operation::Kind::reshape:
                    over(graph_[operation.y].sizes, [&](Four const& i, std::size_t at) {
                        result[at] = value(operation.x, {i[0], i[1], i[3], i[2]});
                    });
                    break;
                case Operation::Kind::product:
                    product(operation, result);
                    break;
                case Operation::Kind::load_pages:
                    load_pages(operation, result);
                    break;
            }
            store(operation.y, result);
            values_[operation.y] = std::move(result);
        }
    }

  private:
    static std::size_t count(Four const& sizes) {
        return static_cast<std::size_t>(sizes[0] * sizes[1] * sizes[2] * sizes[3]);
    }
    static void over(Four const& sizes, std::function<void(Four const&, std::size_t)> const& work) {
        std::size_t at = 0;
        for (Four i{}; i[0] < sizes[0]; ++i[0])
            for (i[1] = 0; i[1] < sizes[1]; ++i[1])
                for (i[2] = 0; i[2] < sizes[2]; ++i[2])
                    for (i[3] = 0; i[3] < sizes[3]; ++i[3]) work(i, at++);
    }
    std::int32_t integer(Id tensor, std::int64_t at) const {
        return static_cast<std::int32_t const*>(memory_.at(tensor))[at];
    }
    // Rows are dim 2, or dim 3 where columns lie closer together.
    static std::int64_t row_of(GraphTensor const& tensor, Four const& i) {
        return tensor.strides[2] == 1 && tensor.sizes[3] > 1 && tensor.strides[3] > 1 ? i[3] : i[2];
    }
    // Where an element lies; below zero: in no sequence.
    std::int64_t place(Id id, Four const& i) const {
        GraphTensor const& t = graph_[id];
        std::int64_t at = i[1] * t.strides[1] + i[2] * t.strides[2] + i[3] * t.strides[3];
        if (t.offsets == 0) return at + i[0] * t.strides[0];
        if (row_of(t, i) >= std::min(lengths_[i[0]], key_lengths_[i[0]])) return -1;
        return at + integer(t.offsets, i[0]);
    }
    // Dims of size 1 are for all.
    double value(Id id, Four i) const {
        GraphTensor const& t = graph_[id];
        if (t.constant) return *t.constant;
        for (std::size_t d = 0; d < 4; ++d) i[d] = t.sizes[d] == 1 ? 0 : i[d];
        auto const inside = values_.find(id);
        if (inside != values_.end())
            return inside->second[static_cast<std::size_t>(
                ((i[0] * t.sizes[1] + i[1]) * t.sizes[2] + i[2]) * t.sizes[3] + i[3])];
        std::int64_t const at = place(id, i);
        if (at < 0) return 0;
        void const* const memory = memory_.at(id);
        switch (t.type) {
            case CUDNN_DATA_BFLOAT16:
                return to_float(static_cast<BFloat16 const*>(memory)[at]);
            case CUDNN_DATA_INT32:
                return static_cast<std::int32_t const*>(memory)[at];
            default:
                return static_cast<float const*>(memory)[at];
        }
    }
    void store(Id id, Values const& result) const {
        auto const to = memory_.find(id);
        if (to == memory_.end()) return;
        GraphTensor const& t = graph_[id];
        over(t.sizes, [&](Four const& i, std::size_t from) {
            std::int64_t const at = place(id, i);
            if (at < 0) return;
            auto const x = static_cast<float>(result[from]);
            if (t.type == CUDNN_DATA_BFLOAT16)
                static_cast<BFloat16*>(to->second)[at] = to_bf16(x);
            else
                static_cast<float*>(to->second)[at] = x;
        });
    }

    void pointwise(Operation const& o, Values& result) const {
        over(graph_[o.y].sizes, [&](Four const& i, std::size_t at) {
            double const x = value(o.x, i), b = o.b == 0 ? 0 : value(o.b, i), t = o.t == 0 ? 0 : value(o.t, i);
            result[at] = o.mode == CUDNN_POINTWISE_GEN_INDEX
                             ? static_cast<double>(i[static_cast<std::size_t>(o.axis.value())])
                             : apply(o.mode, x, b, t);
        });
    }
    static double apply(cudnnPointwiseMode_t mode, double x, double b, double t) {
        switch (mode) {
            case CUDNN_POINTWISE_ADD:
                return x + b;
            case CUDNN_POINTWISE_SUB:
                return x - b;
            case CUDNN_POINTWISE_MUL:
                return x * b;
            case CUDNN_POINTWISE_DIV:
                return x / b;
            case CUDNN_POINTWISE_EXP:
                return std::exp(x);
            case CUDNN_POINTWISE_LOG:
                return std::log(x);
            case CUDNN_POINTWISE_IDENTITY:
                return x;
            case CUDNN_POINTWISE_CMP_LT:
                return x < b ? 1 : 0;
            case CUDNN_POINTWISE_CMP_GE:
                return x >= b ? 1 : 0;
            case CUDNN_POINTWISE_LOGICAL_AND:
                return x != 0 && b != 0 ? 1 : 0;
            case CUDNN_POINTWISE_BINARY_SELECT:
                return t != 0 ? x : b;
            default:
                throw std::logic_error("an elementwise function that the interpreter does not have");
        }
    }
    void reduction(Operation const& o, Values& result) const {
        Four const from = graph_[o.x].sizes, to = graph_[o.y].sizes;
        bool const adds = o.reduction == CUDNN_REDUCE_TENSOR_ADD;
        if (!adds) std::fill(result.begin(), result.end(), -std::numeric_limits<double>::infinity());
        over(from, [&](Four const& i, std::size_t) {
            std::int64_t at = 0;
            for (std::size_t d = 0; d < 4; ++d) at = at * to[d] + i[d] / (from[d] / to[d]);
            double& sum = result[static_cast<std::size_t>(at)];
            sum = adds ? sum + value(o.x, i) : std::max(sum, value(o.x, i));
        });
    }
    // Heads of b are shared by as many of a. Beyond the lengths are zeros.
    void product(Operation const& o, Values& result) const {
        std::int64_t const share = graph_[o.x].sizes[1] / graph_[o.b].sizes[1], depth = graph_[o.x].sizes[3];
        auto const most = [](Id lengths, auto const& self, std::int64_t i, std::int64_t all) {
            return lengths == 0 ? all : std::min<std::int64_t>(all, self.integer(lengths, i));
        };
        over(graph_[o.y].sizes, [&](Four const& i, std::size_t at) {
            Four const& sizes = graph_[o.y].sizes;
            if (i[2] >= most(o.m, *this, i[0], sizes[2]) || i[3] >= most(o.n, *this, i[0], sizes[3])) return;
            for (std::int64_t k = 0; k < most(o.k, *this, i[0], depth); ++k)
                result[at] += value(o.x, {i[0], i[1], i[2], k}) * value(o.b, {i[0], i[1] / share, k, i[3]});
        });
    }
    // The container is [pages, heads, tokens, columns].
    void load_pages(Operation const& o, Values& result) const {
        GraphTensor const& y = graph_[o.y];
        std::int64_t const tokens = graph_[o.x].sizes[2], width = graph_[o.b].sizes[2];
        bool const transposed = y.strides[2] == 1;
        over(y.sizes, [&](Four const& i, std::size_t at) {
            std::int64_t const position = transposed ? i[3] : i[2], column = transposed ? i[2] : i[3];
            if (position >= integer(o.t, i[0])) return;
            std::int64_t const page = integer(o.b, i[0] * width + position / tokens);
            result[at] = value(o.x, {page, i[1], position % tokens, column});
        });
    }

    Graph const& graph_;
    std::map<Id, void*> memory_;
    std::int32_t const *lengths_, *key_lengths_;
    std::map<Id, Values> values_;
};

}  // namespace selvage::test
