// SPDX-License-Identifier: Apache-2.0
// Attention in device memory against a plain loop: our own kernels on the emulation and on a GPU, cuDNN on a GPU.
#include <cstdlib>

#include "device/arena.h"
#include "kernels/batch_invariance.h"
#include "kernels/cuda/attention_sequences.h"
#include "kernels/cuda/cudnn_attention.h"

namespace selvage::kernels {
namespace {

using test::AttentionBatch;
using test::AttentionCase;
using test::Buffer;
using test::Doubles;
using test::expect_forward;
using test::Floats;
using test::part;
using test::PlainGradients;
using test::sequence_of;

struct Way {
    char const* name;
    char const* device;
    bool is_cudnn;
};

class DeviceAttention : public testing::TestWithParam<std::tuple<Way, AttentionCase>> {
  protected:
    void SetUp() override {
        char const* const required = std::getenv("SELVAGE_REQUIRE_GPU");
        bool const must = required != nullptr && std::string(required) == "1" && std::string(way_.device) == "cuda";
        try {
            device_ = make_device(way_.device);
        } catch (Error const& error) {
            if (must) throw;
            GTEST_SKIP() << error.what();
        }
        stream_ = std::make_unique<Stream>(*device_);
        arena_ = std::make_unique<Arena>(*device_);
        set_batch_invariant(!way_.is_cudnn, device_->kind());
        std::string const library = cuda::library_attention();
        if (way_.is_cudnn && !library.starts_with("cuDNN") && !must) GTEST_SKIP() << library;
    }
    void TearDown() override {
        if (device_ != nullptr) set_batch_invariant(true, device_->kind());
    }

    Tensor tensor(Shape shape, DType dtype = DType::bf16) const { return {*arena_, "test", dtype, shape}; }
    Tensor uploaded(Buffer const& from, Shape shape) const {
        Tensor to = tensor(shape);
        device_->copy_to_device(to.view().raw(), from.view(shape).raw(), bytes(to), *stream_);
        return to;
    }
    Buffer downloaded(TensorView from) const {
        Buffer const to(DType::bf16, from.elements(), 0);
        device_->copy_to_host(to.view(from.shape()).raw(), from.raw(), bytes(from), *stream_);
        return to;
    }
    Floats downloaded_floats(TensorView from) const {
        Floats to(static_cast<std::size_t>(from.elements()));
        device_->copy_to_host(to.data(), from.raw(), bytes(from), *stream_);
        return to;
    }
    static std::size_t bytes(TensorView of) { return static_cast<std::size_t>(of.elements()) * size_of(of.dtype()); }

    void forward(TensorView out, TensorView log_sum_exp, TensorView queries, KvPages const& pages,
                 std::span<AttentionSegment const> segments, float scale) {
        if (way_.is_cudnn)
            ASSERT_TRUE(cuda::library_attention_forward(out, log_sum_exp, queries, pages, segments, sizes_.heads, scale,
                                                        *stream_));
        else
            attention_forward(out, log_sum_exp, queries, pages, segments, scale, *stream_);
    }

    // Pages before rows are stored.
    Tensor pages_full_of(unsigned char byte, AttentionBatch const& batch) const {
        return uploaded(Buffer(DType::bf16, batch.pages.size(), byte), {batch.page_count(), batch.page_size()});
    }
    void expect_decoded(std::vector<std::int64_t> const& lengths, unsigned char left);

    static constexpr unsigned char unwritten = 0x7f;  // numbers of 3e38
    Way way_ = std::get<0>(GetParam());
    AttentionCase sizes_ = std::get<1>(GetParam());
    std::unique_ptr<Device> device_;
    std::unique_ptr<Stream> stream_;
    std::unique_ptr<Arena> arena_;
};

TEST_P(DeviceAttention, PackedSequencesAgreeWithAPlainLoop) {
    AttentionBatch const batch(sizes_, {67, 3, 130}, true);
    auto const segments = batch.segments();
    Shape const query_shape = batch.query_shape(batch.rows), key_shape = batch.key_shape(batch.rows);
    Tensor const queries = uploaded(batch.queries, query_shape), keys = uploaded(batch.keys, key_shape),
                 values = uploaded(batch.values, key_shape);
    Tensor const page_memory = pages_full_of(unwritten, batch);
    KvPages pages{page_memory, sizes_.kv_heads, sizes_.head_size};
    store_kv(pages, keys, values, segments, *stream_);
    Buffer const d_out_values(DType::bf16, test::random_floats(batch.queries.size(), 24));
    Tensor const d_out = uploaded(d_out_values, query_shape), out = tensor(query_shape);
    Tensor const log_sum_exp = tensor({batch.rows, sizes_.heads}, DType::f32);
    Tensor const d_queries = tensor(query_shape), d_keys = tensor(key_shape), d_values = tensor(key_shape);

    for (bool const from_rows : {false, true}) {  // else from pages
        pages.new_keys = from_rows ? keys.view() : TensorView{};
        pages.new_values = from_rows ? values.view() : TensorView{};
        for (bool const keeps : {false, true}) {
            ASSERT_NO_FATAL_FAILURE(
                forward(out, keeps ? log_sum_exp.view() : TensorView{}, queries, pages, segments, batch.scale));
            Buffer const all = downloaded(out);
            Floats const sums = downloaded_floats(log_sum_exp);
            for (AttentionSegment const& s : segments) {
                std::int64_t const width = sizes_.heads * sizes_.head_size;
                Floats const of_rows(sums.begin() + s.first_row * sizes_.heads,
                                     sums.begin() + (s.first_row + s.rows) * sizes_.heads);
                ASSERT_NO_FATAL_FAILURE(expect_forward(sequence_of(batch, s.first_row, s.rows),
                                                       part(all, s.first_row * width, s.rows * width),
                                                       keeps ? &of_rows : nullptr, 0, from_rows ? "rows" : "pages"));
            }
        }
    }
    if (way_.is_cudnn)
        ASSERT_TRUE(cuda::library_attention_backward(d_queries, d_keys, d_values, d_out, out, log_sum_exp, queries,
                                                     keys, values, segments, batch.scale, *stream_));
    else
        attention_backward(d_queries, d_keys, d_values, d_out, out, log_sum_exp, queries, keys, values, segments,
                           batch.scale, *stream_);
    Buffer const all = downloaded(out), got_queries = downloaded(d_queries), got_keys = downloaded(d_keys),
                 got_values = downloaded(d_values);
    Floats const sums = downloaded_floats(log_sum_exp);
    for (AttentionSegment const& s : segments) {
        auto const rows_of = [&](Buffer const& of, std::int64_t heads) {
            return part(of, s.first_row * heads * sizes_.head_size, s.rows * heads * sizes_.head_size);
        };
        AttentionBatch::Result const result{
            rows_of(all, sizes_.heads),
            Floats(sums.begin() + s.first_row * sizes_.heads, sums.begin() + (s.first_row + s.rows) * sizes_.heads)};
        PlainGradients wanted(sequence_of(batch, s.first_row, s.rows), result, rows_of(d_out_values, sizes_.heads));
        // cuDNN rounds the gradients of a key by each of its heads to bf16, and sums those.
        if (way_.is_cudnn)
            for (Doubles* const errors : {&wanted.keys_error, &wanted.values_error})
                for (double& error : *errors) error *= 2;
        ASSERT_NO_FATAL_FAILURE(
            wanted.expect_near({rows_of(got_queries, sizes_.heads), rows_of(got_keys, sizes_.kv_heads),
                                rows_of(got_values, sizes_.kv_heads)},
                               DType::bf16));
    }
}

// The last row of each sequence, decoded.
void DeviceAttention::expect_decoded(std::vector<std::int64_t> const& lengths, unsigned char left) {
    AttentionBatch const batch(sizes_, lengths, true);
    Shape const key_shape = batch.key_shape(batch.rows);
    Tensor const page_memory = pages_full_of(left, batch);
    KvPages const pages{page_memory, sizes_.kv_heads, sizes_.head_size};
    store_kv(pages, uploaded(batch.keys, key_shape), uploaded(batch.values, key_shape), batch.segments(), *stream_);
    std::int64_t const width = sizes_.heads * sizes_.head_size;
    auto const count = std::ssize(lengths);
    Tensor const queries = tensor({count, sizes_.heads, sizes_.head_size}),
                 out = tensor({count, sizes_.heads, sizes_.head_size});
    std::vector<AttentionSegment> last;
    for (AttentionSegment const& s : batch.segments()) {
        std::int64_t const row = std::ssize(last);
        Buffer const query = part(batch.queries, (s.first_row + s.rows - 1) * width, width);
        device_->copy_to_device(queries.view().rows(row, row + 1).raw(), query.view({width}).raw(),
                                2 * static_cast<std::size_t>(width), *stream_);
        last.push_back({row, 1, s.rows - 1, s.page_table});
    }
    ASSERT_NO_FATAL_FAILURE(forward(out, {}, queries, pages, last, batch.scale));
    Buffer const all = downloaded(out);
    std::int64_t at = 0;
    for (AttentionSegment const& s : batch.segments())
        ASSERT_NO_FATAL_FAILURE(expect_forward(sequence_of(batch, s.first_row, s.rows), part(all, width * at++, width),
                                               nullptr, s.rows - 1, "decoding"));
}

// As many sequences as a plan is made for, and fewer.
TEST_P(DeviceAttention, DecodedRowsAgreeWithAPlainLoop) {
    for (auto const& lengths : std::vector<std::vector<std::int64_t>>{{67, 1, 130, 64}, {40, 65, 3}})
        ASSERT_NO_FATAL_FAILURE(expect_decoded(lengths, unwritten));
}

// A test of its own: it is not known of cuDNN.
TEST_P(DeviceAttention, SlotsThatAreNotWrittenMayHoldNaN) {
    ASSERT_NO_FATAL_FAILURE(expect_decoded({67, 1, 130, 64}, 0xff));
}

std::vector<Way> ways() {
#ifdef SELVAGE_CUDA
    return {{"own", "cuda", false}, {"cudnn", "cuda", true}};
#else
    return {{"own", "emulated", false}};
#endif
}

INSTANTIATE_TEST_SUITE_P(
    Cases, DeviceAttention,
    testing::Combine(testing::ValuesIn(ways()),
                     testing::Values(AttentionCase{2, 2, 16, DType::bf16}, AttentionCase{4, 1, 64, DType::bf16},
                                     AttentionCase{4, 2, 80, DType::bf16}, AttentionCase{4, 2, 128, DType::bf16})),
    [](auto const& info) { return std::string(std::get<0>(info.param).name) + "_" + std::get<1>(info.param).name(); });

}  // namespace
}  // namespace selvage::kernels
