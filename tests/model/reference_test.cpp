// SPDX-License-Identifier: Apache-2.0
// Loss, logits and every gradient against PyTorch in double precision (tests/reference/model.py).
#include "model/reference.h"

#include <gtest/gtest.h>

#include <cmath>

#include "model/small_model.h"
#include "support/differences.h"

namespace selvage::test {
namespace {

// Rounding errors of the operations between input and output add up like a random walk: some 20 rounded operations per
// layer and direction, each a sum of up to 219 rows or 48 columns, stay below 128 units of roundoff of the largest
// element.
constexpr double tolerance = 128 * 0x1.0p-24;

// A bias of all keys shifts the scores of a query nearly alike, which softmax does not see: its gradient is a sum of
// terms as large as those of the weight's, which cancel.
std::string scale_of(std::string const& name) {
    std::size_t const at = name.find("key.bias");
    return at == std::string::npos ? name : name.substr(0, at) + "key.weight";
}

class Reference : public testing::TestWithParam<char const*> {};

TEST_P(Reference, LossLogitsAndEveryGradient) {
    ReferenceFile const file = read_reference(files() / "reference" / ("model_" + std::string(GetParam()) + ".bin"));
    SmallModel small(config_of(file));
    Model& model = small.model;
    std::size_t given = 0;
    for (auto const& [name, tensor] : file) given += name.starts_with("weight/") ? 1 : 0;
    ASSERT_EQ(given, model.parameters().parameters().size());
    for (Parameter const& parameter : model.parameters().parameters()) {
        ReferenceTensor const& tensor = file.at("weight/" + parameter.spec.name);
        ASSERT_EQ(tensor.dims.size(), static_cast<std::size_t>(parameter.spec.shape.rank())) << parameter.spec.name;
        for (std::size_t i = 0; i < tensor.dims.size(); ++i)
            ASSERT_EQ(tensor.dims[i], parameter.spec.shape[static_cast<int>(i)]) << parameter.spec.name;
        auto const values = tensor.values<float>();
        std::copy(values.begin(), values.end(), model.parameters().value(parameter.spec.name).as<float>());
    }
    auto const tokens = file.at("tokens").values<std::int32_t>();
    auto const lengths32 = file.at("lengths").values<std::int32_t>();
    std::vector<std::int64_t> const lengths(lengths32.begin(), lengths32.end());
    auto const rows = static_cast<std::int64_t>(tokens.size());
    PackedSequences const packed(tokens, lengths);
    KvCache cache(small.arena, model, packed.pages());
    Workspace workspace(small.arena, model, rows + 3, Keep::activations);
    TensorView const hidden = model.forward(packed.batch(), cache, workspace);

    Tensor const logits(small.arena, "logits", DType::f32, {rows, model.config().vocabulary});
    model.logits(logits, hidden);
    auto const expected_logits = file.at("logits").values<float>();
    auto const vocabulary = static_cast<std::size_t>(model.config().vocabulary);
    std::size_t at = 0;
    for (std::int32_t const row : file.at("logit_rows").values<std::int32_t>()) {
        auto const expected = std::span(expected_logits).subspan(at, vocabulary);
        EXPECT_LE(difference(elements(logits.view().rows(row, row + 1)), expected), tolerance * largest(expected))
            << "logits of row " << row;
        at += vocabulary;
    }

    Tensor const gradients = small.gradients();
    double const loss = model.backward(packed.batch(), file.at("targets").values<std::int32_t>(),
                                       file.at("loss_weights").values<float>(), cache, workspace, gradients);
    double const expected_loss = file.at("loss").values<double>().at(0);
    EXPECT_NEAR(loss, expected_loss, tolerance * expected_loss);
    for (Parameter const& parameter : model.parameters().parameters()) {
        auto const expected = file.at("gradient/" + parameter.spec.name).values<float>();
        auto const found = elements(ParameterSet::slice(gradients, parameter));
        double const scale = largest(file.at("gradient/" + scale_of(parameter.spec.name)).values<float>());
        EXPECT_LE(difference(found, expected), tolerance * scale)
            << "gradient of " << parameter.spec.name << ", largest element " << largest(expected);
    }
}

INSTANTIATE_TEST_SUITE_P(Models, Reference,
                         testing::Values("llama", "neox", "geglu", "parallel", "layernorm", "gemma2", "qwen3",
                                         "sliding", "post_layernorm"),
                         [](auto const& info) { return std::string(info.param); });

}  // namespace
}  // namespace selvage::test
