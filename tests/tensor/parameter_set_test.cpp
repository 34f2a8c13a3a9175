// SPDX-License-Identifier: Apache-2.0
#include "tensor/parameter_set.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "tensor/host_copy.h"

namespace selvage {
namespace {

struct ParameterSetTest : testing::Test {
    std::unique_ptr<Device> device = make_device("cpu");
    Arena arena{*device};

    static std::vector<ParameterSpec> specs() {
        return {{"embedding", {10, 7}, InitKind::normal, 0.5F, true},
                {"norm", {7}, InitKind::ones, 0, false},
                {"bias", {3}, InitKind::zeros, 0, false},
                {"head", {100, 50}, InitKind::normal, 0.02F, true}};
    }
};

TEST_F(ParameterSetTest, FlatLayout) {
    ParameterSet const set(arena, specs());
    ASSERT_EQ(set.parameters().size(), 4U);
    EXPECT_EQ(set.element_count(), 70 + 7 + 3 + 5000);
    EXPECT_EQ(set.flat_size() % ParameterSet::block_elements, 0);
    std::int64_t end = 0;
    for (Parameter const& p : set.parameters()) {
        EXPECT_EQ(p.offset % 64, 0);
        EXPECT_GE(p.offset, end);
        EXPECT_LT(p.offset - end, 64);
        end = p.offset + p.spec.shape.elements();
    }
    EXPECT_GE(set.flat_size(), end);
    EXPECT_LT(set.flat_size() - end, ParameterSet::block_elements + 64);
    EXPECT_EQ(set.index_of("bias"), 2);
    EXPECT_EQ(set.index_of("none"), -1);
    EXPECT_THROW(set.find("none"), Error);
    EXPECT_THROW(ParameterSet(arena, {{"a", {1}}, {"a", {2}}}), Error);
    TensorView const head = set.value("head");
    EXPECT_EQ(head.shape(), (Shape{100, 50}));
    EXPECT_EQ(head.as<float>(), set.values().as<float>() + set.find("head").offset);
}

TEST_F(ParameterSetTest, InitialisesByNameAndElement) {
    ParameterSet set(arena, specs());
    set.initialise(3);
    for (std::int64_t i = 0; i < 7; ++i) EXPECT_EQ(set.value("norm").as<float>()[i], 1.0F);
    for (std::int64_t i = 0; i < 3; ++i) EXPECT_EQ(set.value("bias").as<float>()[i], 0.0F);

    // Mean and deviation of 5000 normal numbers.
    double sum = 0, squares = 0;
    float const* const head = set.value("head").as<float>();
    for (int i = 0; i < 5000; ++i) {
        sum += head[i];
        squares += static_cast<double>(head[i]) * head[i];
    }
    EXPECT_NEAR(sum / 5000, 0, 5 * 0.02 / std::sqrt(5000));
    EXPECT_NEAR(squares / 5000, 0.02 * 0.02, 5 * 0.02 * 0.02 * std::sqrt(2.0 / 5000));

    // The order and the company of the parameters do not matter, nor what the shape is: the element's index counts.
    ParameterSet other(arena, {{"head", {5000}, InitKind::normal, 0.02F, true}, {"x", {5}}});
    other.initialise(3);
    for (int i = 0; i < 5000; ++i) ASSERT_EQ(other.value("head").as<float>()[i], head[i]);
    other.initialise(4);
    int same = 0;
    for (int i = 0; i < 5000; ++i) same += other.value("head").as<float>()[i] == head[i];
    EXPECT_LT(same, 5);

    // Padding stays zero.
    std::int64_t padding = 0;
    for (std::int64_t i = 70; i < set.find("norm").offset; ++i, ++padding) EXPECT_EQ(set.values().as<float>()[i], 0.0F);
    EXPECT_GT(padding, 0);
}

TEST_F(ParameterSetTest, AnyDeviceAndNumberOfThreadsGivesTheSameBits) {
    std::vector<ParameterSpec> const large = {
        {"cut", {301, 3000}, InitKind::normal, 0.5F, true, {1, {{0, 1001}, {1001, 3000}}}},
        {"norm", {70}, InitKind::ones},
        {"whole", {5'000'000}}};
    for (int const rank : {0, 1}) {
        ParameterSet plain(arena, large, rank, 2);
        plain.initialise(3);
        for (char const* const name : {"cpu", "emulated"}) {
            std::unique_ptr<Device> other;
            try {
                other = make_device(name);
            } catch (Error const&) {
                continue;  // not built
            }
            Arena there(*other);
            ParameterSet set(there, large, rank, 2);
            set.initialise(3, 3);
            FloatReader reader(set.values(), *other);
            auto const values = reader.read({0, set.flat_size()});
            EXPECT_EQ(std::memcmp(values.data(), plain.values().as<float>(), values.size_bytes()), 0) << name << rank;
        }
    }
}

TEST_F(ParameterSetTest, ShardsAreThatOfTheWhole) {
    ParameterSet whole(arena, specs());
    whole.initialise(3);
    for (int const parts : {1, 2, 3, 5}) {
        std::vector<Range> const shards = whole.shards(parts);
        std::int64_t end = 0;
        for (int part = 0; part < parts; ++part) {
            ParameterSet set(arena, specs(), 0, 1, part, parts);
            set.initialise(3, 2);
            Range const held = set.held();
            EXPECT_EQ(held, shards[static_cast<std::size_t>(part)]);
            EXPECT_EQ(held.begin, end);
            EXPECT_EQ(held.begin % ParameterSet::block_elements, 0);
            end = held.end;
            ASSERT_EQ(set.values().elements(), held.size());
            EXPECT_EQ(set.is_whole(), parts == 1);
            for (std::int64_t i = held.begin; i < held.end; ++i)
                ASSERT_EQ(set.values_of({i, i + 1}).as<float>()[0], whole.values().as<float>()[i]) << i;
        }
        EXPECT_EQ(end, whole.flat_size());
    }
}

TEST_F(ParameterSetTest, SlicesOfAnotherBuffer) {
    ParameterSet const set(arena, specs());
    Tensor const gradients(arena, "gradients", DType::f32, {set.flat_size()});
    Parameter const& norm = set.find("norm");
    TensorView const slice = ParameterSet::slice(gradients, norm);
    EXPECT_EQ(slice.shape(), (Shape{7}));
    EXPECT_EQ(slice.as<float>(), gradients.view().as<float>() + norm.offset);
}

TEST(TensorView, RowsReshapeAndTypes) {
    std::vector<float> data(24);
    TensorView const view = TensorView::of(data.data(), {4, 3, 2});
    EXPECT_EQ(view.rows(1, 3).shape(), (Shape{2, 3, 2}));
    EXPECT_EQ(view.rows(1, 3).as<float>(), data.data() + 6);
    EXPECT_EQ(view.rows(4, 4).elements(), 0);
    EXPECT_TRUE(view.rows(4, 4).empty());
    EXPECT_EQ(view.reshape({6, 4}).shape(), (Shape{6, 4}));
    EXPECT_THROW(view.reshape({5, 5}), Error);
    EXPECT_THROW(view.rows(2, 5), Error);
    EXPECT_THROW(view.rows(3, 2), Error);
    EXPECT_THROW(view.as<std::int32_t>(), Error);
    EXPECT_EQ(view.shape().text(), "[4, 3, 2]");
    EXPECT_NE((Shape{2, 3}), (Shape{3, 2}));
    EXPECT_NE((Shape{2}), (Shape{2, 1}));
}

TEST(Tensor, IsZeroedNamedAndCounted) {
    auto const device = make_device("cpu");
    Arena arena(*device);
    {
        Tensor const a(arena, "a", DType::f32, {3, 5});
        Tensor const b(arena, "b", DType::i64, {100});
        for (int i = 0; i < 15; ++i) EXPECT_EQ(a.view().as<float>()[i], 0.0F);
        EXPECT_EQ(a.first(2).shape(), (Shape{2, 5}));
        EXPECT_GE(arena.in_use(), 15 * 4 + 100 * 8U);
        ASSERT_EQ(arena.report().size(), 2U);
        EXPECT_EQ(arena.report()[0].first, "b");
    }
    EXPECT_EQ(arena.in_use(), 0U);
    EXPECT_GE(arena.peak(), 15 * 4 + 100 * 8U);
    EXPECT_THROW(make_device("nothing"), Error);
}

}  // namespace
}  // namespace selvage
