// SPDX-License-Identifier: Apache-2.0
// Attention by cuDNN with an interpreter in the place of cuDNN and the host's memory in the place of a GPU's: which
// graphs are taken, what they are given, and what is left to our own kernels.
#include <gtest/gtest.h>

#ifdef SELVAGE_CUDNN
#include <cstring>
#include <deque>
#include <set>

#include "kernels/cuda/attention_sequences.h"
#include "kernels/cuda/cudnn_attention.h"
#include "kernels/cuda/cudnn_attention_graphs.h"
#include "kernels/cuda/gemm_library.h"
#include "kernels/cuda/graph_interpreter.h"
#include "kernels/cuda/recording.h"

namespace selvage::kernels::cuda {
namespace {

bool invariant = false;
std::deque<cudnn::Graph> planned;  // a plan's working memory is its number in bytes, from 1 on
int runs = 0;

}  // namespace

// In the place of gemm_library.cpp and recording.cpp.
bool batch_invariant() { return invariant; }
void must_not_be_recorded(Stream&) {}

// In the place of cudnn_library.cpp.
namespace cudnn {

std::string const& missing() {
    static std::string const nothing;
    return nothing;
}
std::size_t version() { return 91900; }
void Descriptor::Destroy::operator()(void*) const {}
Descriptor::Descriptor(cudnnBackendDescriptorType_t) {}
Target::Target(Context const&) {}
void Context::Destroy::operator()(cudnnHandle_t) const {}
Context::Context() = default;
void Context::clear(void* memory, std::size_t bytes, void*) { std::memset(memory, 0, bytes); }

Plan Graph::plan(Target const&, std::size_t) const {
    planned.push_back(*this);
    if ((*this)[3].sizes[1] == 3) throw Refusal("three heads");  // of queries, where there are no offsets
    return {Descriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR), planned.size(), {}};
}

void Context::run(Plan const& plan, std::span<Binding const> bindings, void* workspace, void*) {
    Graph const& graph = planned[plan.workspace_bytes - 1];
    std::map<Id, void*> memory;
    std::set<void*> different{workspace};
    for (Binding const& binding : bindings) {
        ASSERT_TRUE(different.insert(binding.memory).second) << binding.tensor;
        ASSERT_NE(binding.memory, nullptr) << binding.tensor;
        ASSERT_TRUE(memory.emplace(binding.tensor, binding.memory).second) << binding.tensor;
        // Sums of queries, which cuDNN adds to.
        if (graph[binding.tensor].type == CUDNN_DATA_FLOAT && graph[binding.tensor].sizes[3] > 1) {
            EXPECT_EQ(*static_cast<float const*>(binding.memory), 0.0F);
        }
    }
    std::memset(workspace, 0xff, plan.workspace_bytes);
    // Lengths are every graph's first tensors.
    test::GraphInterpreter(graph, memory, static_cast<std::int32_t const*>(memory.at(1)),
                           static_cast<std::int32_t const*>(memory.at(2)))
        .run();
    ++runs;
}

}  // namespace cudnn

namespace {

using test::AttentionBatch;
using test::AttentionCase;
using test::Buffer;
using test::device_pages;
using test::Floats;
using test::part;
using test::sequence_of;

// What is uploaded and scratch memory are new each time, so that what is read too late is not there.
class HostQueue final : public StreamQueue {
  public:
    void* native() const override { return nullptr; }
    void synchronize() override {}
    bool done() const override { return true; }
    void begin_recording() override { FAIL() << "nothing is recorded where batches may differ in bits"; }
    std::unique_ptr<Recording> end_recording(bool) override { return nullptr; }
    void replay(Recording&) override {}
    void const* upload(void const* host, std::size_t bytes) override {
        auto const* const from = static_cast<std::byte const*>(host);
        return uploaded_.emplace_back(from, from + bytes).data();
    }
    void copy_to_device(void* to, void const* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
    void copy(void* to, void const* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
    void download(void* to, void const* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
    void* scratch(std::size_t bytes) override {
        scratch_.assign(bytes, std::byte{0xff});
        return scratch_.data();
    }

  private:
    std::deque<std::vector<std::byte>> uploaded_;
    std::vector<std::byte> scratch_;
};

class HostDevice final : public Device {
  public:
    DeviceKind kind() const override { return DeviceKind::cuda; }
    std::string description() const override { return "the host"; }
    std::size_t memory_limit() const override { return 0; }
    void* allocate(std::size_t) override { return nullptr; }
    void release(void*, std::size_t) noexcept override {}
    std::unique_ptr<StreamQueue> make_queue() override { return std::make_unique<HostQueue>(); }
};

class CudnnCalls : public testing::TestWithParam<AttentionCase> {
  protected:
    CudnnCalls() { invariant = false; }
    static TensorView view(Buffer const& buffer, Shape shape) {
        return {buffer.view(shape).raw(), DType::bf16, shape, DeviceKind::cuda};
    }
    static TensorView view(Floats& floats, Shape shape) { return {floats.data(), DType::f32, shape, DeviceKind::cuda}; }
    KvPages kv(AttentionBatch const& batch, Buffer const& pages) const {
        return {view(pages, {batch.page_count(), batch.page_size()}), c.kv_heads, c.head_size};
    }
    bool forward(Buffer const& out, TensorView log_sum_exp, Buffer const& queries, KvPages const& pages,
                 std::vector<AttentionSegment> const& segments, float scale) {
        Shape const shape{queries.size() / (c.heads * c.head_size), c.heads, c.head_size};
        return library_attention_forward(view(out, shape), log_sum_exp, view(queries, shape), pages, segments, c.heads,
                                         scale, stream_);
    }

    AttentionCase const c = GetParam();
    std::int64_t const width = c.heads * c.head_size;
    HostDevice device_;
    Stream stream_{device_};
};

TEST_P(CudnnCalls, PackedSequences) {
    AttentionBatch const batch(c, {13, 1, 70});
    auto const segments = batch.segments();
    Buffer const pages = device_pages(batch), out(DType::bf16, batch.queries.size(), 0);
    Floats sums(static_cast<std::size_t>(batch.rows * c.heads));
    Shape const shape = batch.query_shape(batch.rows), key_shape = batch.key_shape(batch.rows);
    TensorView const log_sum_exp = view(sums, {batch.rows, c.heads});
    KvPages with_rows = kv(batch, pages);
    with_rows.new_keys = view(batch.keys, key_shape);
    with_rows.new_values = view(batch.values, key_shape);
    auto const sequence = [&](AttentionSegment const& s, Buffer const& all, std::int64_t heads) {
        return part(all, s.first_row * heads * c.head_size, s.rows * heads * c.head_size);
    };
    auto const sums_of = [&](AttentionSegment const& s) {
        return Floats(sums.begin() + s.first_row * c.heads, sums.begin() + (s.first_row + s.rows) * c.heads);
    };
    for (KvPages const& from : {kv(batch, pages), with_rows})
        for (bool const keeps : {false, true}) {
            ASSERT_TRUE(forward(out, keeps ? log_sum_exp : TensorView{}, batch.queries, from, segments, batch.scale));
            for (AttentionSegment const& s : segments) {
                Floats const kept = sums_of(s);
                ASSERT_NO_FATAL_FAILURE(expect_forward(sequence_of(batch, s.first_row, s.rows),
                                                       sequence(s, out, c.heads), keeps ? &kept : nullptr, 0,
                                                       "forward"));
            }
        }
    Buffer const d_out = d_out_of(batch), d_queries(DType::bf16, batch.queries.size(), 0xff),
                 d_keys(DType::bf16, batch.keys.size(), 0xff), d_values = d_keys;
    ASSERT_TRUE(library_attention_backward(view(d_queries, shape), view(d_keys, key_shape), view(d_values, key_shape),
                                           view(d_out, shape), view(out, shape), log_sum_exp,
                                           view(batch.queries, shape), view(batch.keys, key_shape),
                                           view(batch.values, key_shape), segments, batch.scale, stream_));
    for (AttentionSegment const& s : segments) {
        test::PlainGradients wanted(sequence_of(batch, s.first_row, s.rows), {sequence(s, out, c.heads), sums_of(s)},
                                    sequence(s, d_out, c.heads));
        // The gradients of a key by each of its heads are bf16.
        for (test::Doubles* const errors : {&wanted.keys_error, &wanted.values_error})
            for (double& error : *errors) error *= 2;
        ASSERT_NO_FATAL_FAILURE(wanted.expect_near(
            {sequence(s, d_queries, c.heads), sequence(s, d_keys, c.kv_heads), sequence(s, d_values, c.kv_heads)},
            DType::bf16));
    }
}

// Four sequences are as many as a plan is made for, three are not. Rows before and behind are other calls'.
TEST_P(CudnnCalls, DecodedRows) {
    for (auto const& lengths : std::vector<std::vector<std::int64_t>>{{67, 1, 130, 64}, {40, 65, 3}}) {
        AttentionBatch const batch(c, lengths, true);
        Buffer const pages = device_pages(batch);
        Buffer const queries(DType::bf16, (std::ssize(lengths) + 2) * width, 0xff), out = queries;
        std::vector<AttentionSegment> last;
        for (AttentionSegment const& s : batch.segments()) {
            std::int64_t const row = 1 + std::ssize(last);
            std::memcpy(test::elements(queries) + row * width,
                        test::elements(batch.queries) + (s.first_row + s.rows - 1) * width,
                        2 * static_cast<std::size_t>(width));
            last.push_back({row, 1, s.rows - 1, s.page_table});
        }
        ASSERT_TRUE(forward(out, {}, queries, kv(batch, pages), last, batch.scale));
        std::int64_t row = 1;
        for (AttentionSegment const& s : batch.segments())
            ASSERT_NO_FATAL_FAILURE(expect_forward(sequence_of(batch, s.first_row, s.rows),
                                                   part(out, width * row++, width), nullptr, s.rows - 1, "decoding"));
        EXPECT_TRUE(part(out, 0, width).same_bits(queries, width));
        EXPECT_TRUE(part(out, row * width, width).same_bits(queries, width));
    }
}

// One row of two sequences, and then several of another, which has more in pages.
TEST_P(CudnnCalls, StepsThatDecodeAndPrefill) {
    AttentionBatch const batch(c, {67, 9, 130}, true);
    Buffer const pages = device_pages(batch);
    Buffer const queries(DType::bf16, 22 * width, 0), out = queries;
    std::vector<AttentionSegment> last;
    std::int64_t row = 0;
    for (AttentionSegment const& s : batch.segments()) {
        std::int64_t const count = last.size() < 2 ? 1 : 20;
        std::memcpy(test::elements(queries) + row * width,
                    test::elements(batch.queries) + (s.first_row + s.rows - count) * width,
                    2 * static_cast<std::size_t>(count * width));
        last.push_back({row, count, s.rows - count, s.page_table});
        row += count;
    }
    int const before = runs;
    ASSERT_TRUE(forward(out, {}, queries, kv(batch, pages), last, batch.scale));
    EXPECT_EQ(runs, before + 2);
    for (std::size_t i = 0; i < last.size(); ++i) {
        AttentionSegment const all = batch.segments()[i];
        ASSERT_NO_FATAL_FAILURE(expect_forward(sequence_of(batch, all.first_row, all.rows),
                                               part(out, last[i].first_row * width, last[i].rows * width), nullptr,
                                               last[i].first_position, "mixed"));
    }
}

TEST_P(CudnnCalls, PlansAreMadeOnce) {
    AttentionBatch const batch(c, {5, 9});
    Buffer const pages = device_pages(batch), out(DType::bf16, batch.queries.size(), 0);
    auto const call = [&](std::vector<AttentionSegment> const& segments) {
        ASSERT_TRUE(forward(out, {}, batch.queries, kv(batch, pages), segments, batch.scale));
    };
    auto segments = batch.segments();
    call(segments);
    auto const before = planned.size();
    segments[1].rows = 3;
    call(segments);
    EXPECT_EQ(planned.size(), before);
    call({segments[0]});  // one sequence
    EXPECT_EQ(planned.size(), before + 1);
}

TEST_P(CudnnCalls, OthersAreLeftToOurOwnKernels) {
    AttentionBatch const batch(c, {5, 9});
    Buffer const pages = device_pages(batch), out(DType::bf16, batch.queries.size(), 0);
    auto const taken = [&](std::vector<AttentionSegment> const& segments) {
        return forward(out, {}, batch.queries, kv(batch, pages), segments, batch.scale);
    };
    auto const segments = batch.segments();
    EXPECT_TRUE(taken(segments));
    EXPECT_FALSE(taken({segments[1], segments[0]}));
    invariant = true;
    EXPECT_FALSE(taken(segments));
}

INSTANTIATE_TEST_SUITE_P(Heads, CudnnCalls,
                         testing::Values(AttentionCase{2, 2, 16, DType::bf16}, AttentionCase{4, 2, 16, DType::bf16}),
                         [](auto const& info) { return info.param.name(); });

TEST(CudnnRefusals, AreAskedForOnce) {
    invariant = false;
    AttentionCase const c{3, 3, 16, DType::bf16};
    AttentionBatch const batch(c, {5});
    Buffer const pages = device_pages(batch), out(DType::bf16, batch.queries.size(), 0);
    HostDevice device;
    Stream stream(device);
    AttentionSegment const row{0, 1, 4, batch.tables[0]};
    Shape const shape{5, 3, 16};
    auto const taken = [&] {
        return library_attention_forward({out.view(shape).raw(), DType::bf16, shape, DeviceKind::cuda}, {},
                                         {batch.queries.view(shape).raw(), DType::bf16, shape, DeviceKind::cuda},
                                         {TensorView(pages.view({1, batch.page_size()}).raw(), DType::bf16,
                                                     {1, batch.page_size()}, DeviceKind::cuda),
                                          3, 16},
                                         {&row, 1}, 3, batch.scale, stream);
    };
    EXPECT_FALSE(taken());
    auto const asked = planned.size();
    EXPECT_FALSE(taken());
    EXPECT_EQ(planned.size(), asked);
}

}  // namespace
}  // namespace selvage::kernels::cuda
#endif
