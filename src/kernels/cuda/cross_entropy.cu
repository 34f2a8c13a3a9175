// SPDX-License-Identifier: Apache-2.0
#include "kernels/cross_entropy.h"

#include "kernels/arguments.h"
#include "kernels/cuda/elements.h"
#include "kernels/cuda/operations.h"

namespace selvage::kernels::cuda {
namespace {

constexpr int threads = 256;

template <class E>
struct CrossEntropy {
    E* d_logits;
    float const *logits, *log_sum_exp;
    std::int32_t const* targets;
    float const* weight;
    std::int64_t vocabulary;
    std::int64_t first_id;
};

// Every element is read and written by one thread, so that both may be the same memory.
template <class E, int width>
__global__ void __launch_bounds__(threads) cross_entropy_backward_kernel(CrossEntropy<E> t) {
    std::int64_t const row = blockIdx.x;
    std::int64_t const column = (static_cast<std::int64_t>(blockIdx.y) * threads + threadIdx.x) * width;
    if (column >= t.vocabulary) return;
    std::int64_t const i = row * t.vocabulary + column;
    float const weight = t.weight[row];
    Vector<width> d;
    if (weight == 0.0F) {  // whatever the logits are
        for (int j = 0; j < width; ++j) d[j] = 0.0F;
    } else {
        float const total = t.log_sum_exp[row];
        std::int64_t const target = t.targets[row] - t.first_id - column;
        d = load<width>(t.logits + i);
        for (int j = 0; j < width; ++j) {
            float const probability = expf(d[j] - total);
            d[j] = (j == target ? probability - 1.0F : probability) * weight;
        }
    }
    store(t.d_logits + i, d);
}

// Of the ids from first_id on.
void backward_from(TensorView d_logits, TensorView logits, TensorView log_sum_exp, TensorView targets,
                   TensorView weight, std::int64_t first_id, Stream& stream) {
    check_same(d_logits, logits);
    SELVAGE_CHECK(logits.rank() == 2, "logits of shape {}", logits.shape().text());
    std::int64_t const rows = logits.dim(0);
    std::int64_t const n = logits.dim(1);
    SELVAGE_CHECK(targets.elements() == rows && log_sum_exp.elements() == rows && weight.elements() == rows,
                  "{} targets, {} sums and {} weights for {} rows", targets.elements(), log_sum_exp.elements(),
                  weight.elements(), rows);
    with_element(d_logits, [&]<class E>() {
        CrossEntropy<E> const t{d_logits.as<E>(),
                                logits.as<float>(),
                                log_sum_exp.as<float>(),
                                targets.as<std::int32_t>(),
                                weight.as<float>(),
                                n,
                                first_id};
        auto const run = [&]<int width>() {
            std::int64_t const each = std::int64_t{threads} * width;
            dim3 const grid(static_cast<unsigned>(rows), static_cast<unsigned>((n + each - 1) / each));
            launch(cross_entropy_backward_kernel<E, width>, grid, threads, 0, stream, t);
        };
        if (n % 8 == 0 && aligned_for(16, t.d_logits) && aligned_for(16, t.logits))
            run.template operator()<8>();
        else
            run.template operator()<1>();
    });
}

}  // namespace

void cross_entropy_backward(TensorView d_logits, TensorView logits, TensorView log_sum_exp, TensorView targets,
                            TensorView weight, Stream& stream) {
    backward_from(d_logits, logits, log_sum_exp, targets, weight, 0, stream);
}

void shard_cross_entropy_backward(TensorView d_logits, TensorView logits, TensorView log_sum_exp, TensorView targets,
                                  TensorView weight, std::int64_t first_id, Stream& stream) {
    backward_from(d_logits, logits, log_sum_exp, targets, weight, first_id, stream);
}

void fill_cross_entropy(Operations& operations) {
    operations.cross_entropy_backward = cross_entropy_backward;
    operations.shard_cross_entropy_backward = shard_cross_entropy_backward;
}

}  // namespace selvage::kernels::cuda
