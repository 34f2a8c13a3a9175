// SPDX-License-Identifier: Apache-2.0
#include "comm/process_grid.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/test_main.h"

namespace selvage {
namespace {

std::string message_of(GridOptions const& options) {
    try {
        ProcessGrid const grid(test::world(), options);
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), ExitCode::bad_data);
        return error.what();
    }
    return "";
}

TEST(ProcessGrid, AllRanksAreData) {
    auto const world = test::world();
    ProcessGrid const grid(test::world(), {});
    EXPECT_EQ(grid.size(Axis::data), world->size());
    EXPECT_EQ(grid.coordinate(Axis::data), world->rank());
    for (Axis axis : {Axis::tensor, Axis::context, Axis::expert, Axis::pipeline}) EXPECT_EQ(grid.size(axis), 1);
    EXPECT_EQ(grid.description(), "data " + std::to_string(world->size()));
}

TEST(ProcessGrid, TensorIsTheFastestAxis) {
    auto const world = test::world();
    if (world->size() % 2 != 0) GTEST_SKIP() << "needs an even number of ranks";
    GridOptions options;
    options.tensor = 2;
    ProcessGrid const grid(test::world(), options);
    EXPECT_EQ(grid.coordinate(Axis::tensor), world->rank() % 2);
    EXPECT_EQ(grid.coordinate(Axis::data), world->rank() / 2);
    EXPECT_EQ(grid.size(Axis::data), world->size() / 2);
    EXPECT_EQ(grid.description(), "tensor 2 x data " + std::to_string(world->size() / 2));
}

TEST(ProcessGrid, RefusesWhatIsNotBuiltAndWhatDoesNotFit) {
    GridOptions context;
    context.context = 2;
    EXPECT_THAT(message_of(context), ::testing::HasSubstr("grid.context is 2"));
    GridOptions tensor;
    tensor.tensor = 7;
    EXPECT_THAT(message_of(tensor), ::testing::HasSubstr("grid.tensor = 7"));
    GridOptions zero;
    zero.pipeline = 0;
    EXPECT_THAT(message_of(zero), ::testing::HasSubstr("grid.pipeline is 0"));
    GridOptions data;
    data.data = 5;
    EXPECT_THAT(message_of(data), ::testing::HasSubstr("grid.data = 5"));
}

}  // namespace
}  // namespace selvage
