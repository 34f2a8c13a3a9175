// SPDX-License-Identifier: Apache-2.0
// Attention by itself.
#include <vector>

#include "gpu/cases.h"
#include "kernels/attention.h"
#include "tensor/host_copy.h"

namespace selvage::bench {
namespace {

struct AttentionShape {
    std::int64_t sequences, length, heads, kv_heads, head_size;
    std::string text() const {
        return fmt::format("{} x {}, heads {}/{} of {}", sequences, length, heads, kv_heads, head_size);
    }
};

// Whole sequences with all their tensors; `rows` last rows of each are queries.
class Attention {
  public:
    Attention(Table& table, AttentionShape const& shape, std::int64_t rows)
        : table_(table),
          shape_(shape),
          rows_(rows),
          query_(random_tensor(table, {shape.sequences * rows, shape.heads, shape.head_size}, DType::bf16)),
          key_(random_tensor(table, {shape.sequences * shape.length, shape.kv_heads, shape.head_size}, DType::bf16)),
          value_(random_tensor(table, key_.shape(), DType::bf16)),
          out_(table.arena(), "benchmark", DType::bf16, query_.shape()),
          log_sum_exp_(table.arena(), "benchmark", DType::f32, {query_.shape()[0], shape.heads}) {
        std::int64_t const in_each = (shape.length + kernels::kv_page_tokens - 1) / kernels::kv_page_tokens;
        pages_ = Tensor(table.arena(), "benchmark", DType::bf16,
                        {shape.sequences * in_each, 2 * shape.kv_heads * shape.head_size * kernels::kv_page_tokens});
        for (std::int64_t i = 0; i < shape.sequences * in_each; ++i) tables_.push_back(static_cast<std::int32_t>(i));
        std::vector<kernels::AttentionSegment> whole;
        for (std::int64_t i = 0; i < shape.sequences; ++i) {
            std::span const pages(tables_.data() + i * in_each, static_cast<std::size_t>(in_each));
            whole.push_back({i * shape.length, shape.length, 0, pages});
            last_.push_back({i * rows, rows, shape.length - rows, pages});
        }
        kernels::store_kv(kv(), key_, value_, whole, table.stream());
    }
    double forward() {
        return table_.seconds_of(
            [&] { kernels::attention_forward(out_, log_sum_exp_, query_, kv(), last_, scale, table_.stream()); });
    }
    double backward() {
        Tensor const d_out = random_tensor(table_, out_.shape(), DType::bf16);
        auto const like = [&](Tensor const& other) {
            return Tensor(table_.arena(), "benchmark", DType::bf16, other.shape());
        };
        Tensor const d_query = like(query_), d_key = like(key_), d_value = like(value_);
        return table_.seconds_of([&] {
            kernels::attention_backward(d_query, d_key, d_value, d_out, out_, log_sum_exp_, query_, key_, value_, last_,
                                        scale, table_.stream());
        });
    }
    // Of the forward pass: two products, their causal part.
    double flops() const {
        double const seen = static_cast<double>(shape_.length) - 0.5 * static_cast<double>(rows_ - 1);
        return 4.0 * static_cast<double>(shape_.sequences * rows_ * shape_.heads * shape_.head_size) * seen;
    }
    double bytes_of_keys() const {
        return 4.0 * static_cast<double>(shape_.sequences * shape_.length * shape_.kv_heads * shape_.head_size);
    }

  private:
    static constexpr float scale = 0.0883883F;
    kernels::KvPages kv() const { return {pages_, shape_.kv_heads, shape_.head_size}; }

    Table& table_;
    AttentionShape shape_;
    std::int64_t rows_;
    Tensor query_, key_, value_, out_, log_sum_exp_, pages_;
    std::vector<std::int32_t> tables_;
    std::vector<kernels::AttentionSegment> last_;
};

}  // namespace

void measure_attention(Table& table, Ceilings const& ceilings, bool tiny) {
    table.title("Attention, bf16, causal (operations of the causal half); free: batch_invariant = false, by cuDNN");
    std::vector<AttentionShape> const whole = {{4, 2048, 16, 16, 128}, {2, 4096, 16, 16, 128}, {4, 2048, 32, 8, 128}};
    for (AttentionShape const& shape : tiny ? std::vector<AttentionShape>{{1, 80, 2, 1, 16}} : whole) {
        Attention attention(table, shape, shape.length);
        table.with_and_without_invariance([&](std::string const& how) {
            double const forward = attention.flops() / attention.forward();
            table.line("forward " + shape.text() + how, 1e-12 * forward, "TFLOP/s", forward / ceilings.flops);
            double const backward = 2.5 * attention.flops() / attention.backward();
            table.line("backward " + shape.text() + how, 1e-12 * backward, "TFLOP/s", backward / ceilings.flops);
        });
    }
    std::vector<AttentionShape> const decode = {
        {1, 4096, 16, 16, 128}, {16, 2048, 16, 16, 128}, {64, 2048, 32, 8, 128}};
    for (AttentionShape const& shape : tiny ? std::vector<AttentionShape>{{2, 70, 2, 1, 16}} : decode) {
        Attention attention(table, shape, 1);
        table.with_and_without_invariance([&](std::string const& how) {
            double const rate = attention.bytes_of_keys() / attention.forward();
            table.line("decode " + shape.text() + how, 1e-9 * rate, "GB/s", rate / ceilings.bytes);
        });
    }
}

}  // namespace selvage::bench
