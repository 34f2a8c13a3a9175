// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention.h"

#include <vector>

#include "operations/operation.h"

namespace selvage::bench {
namespace {

constexpr float scale = 0.125F;

// `sequences` sequences of `length` tokens with all their tensors; the last `rows` rows of each are queries.
class Attention {
  public:
    Attention(std::int64_t sequences, std::int64_t length, std::int64_t rows)
        : q_(random_tensor({sequences * rows, heads, head_size})),
          k_(random_tensor({sequences * length, heads, head_size})),
          v_(random_tensor({sequences * length, heads, head_size})),
          d_out_(random_tensor({sequences * rows, heads, head_size})),
          out_(like(q_)),
          dq_(like(q_)),
          dk_(like(k_)),
          dv_(like(v_)),
          log_sum_exp_(arena(), "benchmark", DType::f32, {sequences * rows, heads}) {
        std::int64_t const in_sequence = (length + kernels::kv_page_tokens - 1) / kernels::kv_page_tokens;
        pages_ = Tensor(arena(), "benchmark", DType::f32,
                        {sequences * in_sequence, 2 * heads * head_size * kernels::kv_page_tokens});
        for (std::int64_t i = 0; i < sequences * in_sequence; ++i) table_.push_back(static_cast<std::int32_t>(i));
        for (std::int64_t i = 0; i < sequences; ++i) {
            std::span const pages(table_.data() + i * in_sequence, static_cast<std::size_t>(in_sequence));
            whole_.push_back({i * length, length, 0, pages});
            last_.push_back({i * rows, rows, length - rows, pages});
        }
        store();
        forward();
    }
    void store() { kernels::store_kv(kv(), k_, v_, whole_, stream()); }
    void forward() { kernels::attention_forward(out_, log_sum_exp_, q_, kv(), last_, scale, stream()); }
    void backward() {
        kernels::attention_backward(dq_, dk_, dv_, d_out_, out_, log_sum_exp_, q_, k_, v_, whole_, scale, stream());
    }

  private:
    static Tensor like(Tensor const& other) { return {arena(), "benchmark", DType::f32, other.shape()}; }
    kernels::KvPages kv() const { return {pages_, heads, head_size}; }

    Tensor q_, k_, v_, d_out_, out_, dq_, dk_, dv_, log_sum_exp_, pages_;
    std::vector<std::int32_t> table_;
    std::vector<kernels::AttentionSegment> whole_, last_;
};

void add(std::string const& name, double work, std::int64_t sequences, std::int64_t length, std::int64_t rows,
         void (Attention::*call)()) {
    add_case("attention/" + name, {.operations = work}, [=]() -> Call {
        auto const attention = std::make_shared<Attention>(sequences, length, rows);
        return [=] { (*attention.*call)(); };
    });
}

}  // namespace

void add_attention() {
    for (std::int64_t const length : {256, 1024}) {
        std::int64_t const sequences = 1024 / length;
        // Scores and values: two products of the causal half.
        double const work =
            2.0 * static_cast<double>(sequences * heads * head_size) * static_cast<double>(length * (length + 1));
        std::string const size = fmt::format("/{}x{}", sequences, length);
        add("store" + size, 0, sequences, length, length, &Attention::store);
        add("forward" + size, work, sequences, length, length, &Attention::forward);
        add("backward" + size, 2.5 * work, sequences, length, length, &Attention::backward);
    }
    for (std::int64_t const streams : {1, 8, 32, 64})
        for (std::int64_t const length : {128, 1024})
            add(fmt::format("decode/{}x{}", streams, length),
                4.0 * static_cast<double>(streams * heads * head_size * length), streams, length, 1,
                &Attention::forward);
}

}  // namespace selvage::bench
