// SPDX-License-Identifier: Apache-2.0
// Logits, loss and every gradient of small folders against transformers (tests/reference/huggingface.py).
#include <gtest/gtest.h>

#include <cstdio>

#include "huggingface/folder.h"
#include "huggingface/weights.h"
#include "model/reference.h"
#include "model/small_model.h"
#include "support/differences.h"

namespace selvage::test {
namespace {

using huggingface::ModelFolder;

// What is promised. transformers rounds some of its steps to single precision even where weights are double.
constexpr double tolerance = 1e-4;

class HuggingFace : public testing::TestWithParam<char const*> {
  protected:
    std::filesystem::path path() const { return files() / "reference" / "huggingface" / GetParam(); }
};

TEST_P(HuggingFace, LogitsLossAndEveryGradient) {
    ReferenceFile const file = read_reference(path().string() + ".bin");
    ModelFolder const folder(path());
    SmallModel small(folder.config());
    Model& model = small.model;
    io::fill_parameters(model.parameters(), [&](ParameterSpec const& parameter, Range rows, float* into) {
        folder.read(parameter, rows, into);
    });
    auto const tokens = file.at("tokens").values<std::int32_t>();
    auto const lengths32 = file.at("lengths").values<std::int32_t>();
    std::vector<std::int64_t> const lengths(lengths32.begin(), lengths32.end());
    auto const rows = static_cast<std::int64_t>(tokens.size());
    PackedSequences const packed(tokens, lengths);
    KvCache cache(small.arena, model, packed.pages());
    Workspace workspace(small.arena, model, rows, Keep::activations);
    TensorView const hidden = model.forward(packed.batch(), cache, workspace);
    Tensor const logits(small.arena, "logits", DType::f32, {rows, model.config().vocabulary});
    model.logits(logits, hidden);
    auto const expected_logits = file.at("logits").values<float>();
    double const of_logits = difference(elements(logits), expected_logits) / largest(expected_logits);
    EXPECT_LE(of_logits, tolerance);

    Tensor const gradients = small.gradients();
    double const loss = model.backward(packed.batch(), file.at("targets").values<std::int32_t>(),
                                       file.at("loss_weights").values<float>(), cache, workspace, gradients);
    double const expected_loss = file.at("loss").values<double>().at(0);
    EXPECT_NEAR(loss, expected_loss, tolerance * expected_loss);

    huggingface::Family const& family = huggingface::family_named(folder.family(), GetParam());
    double of_gradients = 0;
    for (ParameterSpec const& parameter : folder.parameters()) {
        auto const source = huggingface::source_of(family, folder.config(), parameter);
        auto const whole = file.at("gradient/" + source.tensor).values<float>();
        std::vector<float> expected;
        std::int64_t const width = huggingface::row_elements(parameter);
        source.for_each_run({0, huggingface::rows_of(parameter)}, [&](Range run, std::int64_t first) {
            expected.insert(expected.end(), whole.begin() + first * width,
                            whole.begin() + (first + run.size()) * width);
        });
        Parameter const& ours = model.parameters().find(parameter.name);
        auto const found = elements(ParameterSet::slice(gradients, ours));
        // A bias of all keys shifts the scores of a query nearly alike, which softmax does not see: its gradient is a
        // sum of terms as large as those of the weight's, which cancel.
        std::size_t const bias = parameter.name.find("key.bias");
        double scale = largest(expected);
        if (bias != std::string::npos) {
            Parameter const& weight = model.parameters().find(parameter.name.substr(0, bias) + "key.weight");
            scale = largest(elements(ParameterSet::slice(gradients, weight)));
        }
        ASSERT_EQ(found.size(), expected.size()) << parameter.name;
        EXPECT_LE(difference(found, expected), tolerance * scale) << parameter.name;
        of_gradients = std::max(of_gradients, difference(found, expected) / scale);
    }
    std::printf("%s: largest relative difference of logits %.1e, of the loss %.1e, of gradients %.1e\n", GetParam(),
                of_logits, std::fabs(loss - expected_loss) / expected_loss, of_gradients);
}

INSTANTIATE_TEST_SUITE_P(Folders, HuggingFace,
                         testing::Values("llama2", "llama3", "llama_linear", "mistral", "qwen2", "qwen3", "gemma",
                                         "gemma2", "gpt_neox"),
                         [](auto const& info) { return std::string(info.param); });

}  // namespace
}  // namespace selvage::test
