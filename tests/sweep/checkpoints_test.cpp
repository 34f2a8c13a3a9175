// SPDX-License-Identifier: Apache-2.0
#include "sweep/checkpoints.h"

#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "support/test_main.h"

namespace selvage {
namespace {

struct CheckpointsTest : ::testing::Test {
    CheckpointsTest() {
        parameters.initialise(5);
        if (grid.is_root()) log = std::make_unique<io::RunLog>(io, folder / "run.h5", "", rows_before);
        options.keep = 10;
    }
    Checkpoints checkpoints() { return {grid, io, folder.path(), options, parameters, optimizer, log.get()}; }
    io::CheckpointInfo at(std::int64_t step) const {
        io::CheckpointInfo info;
        info.deck = "[run]\n";
        info.state.step = step;
        return info;
    }
    // The first number of the parameters in a checkpoint.
    float first_in(std::int64_t step) {
        ParameterSet read(arena, {{"weight", {200, 100}}});
        io::read_checkpoint(io, io::checkpoint_path(folder / "checkpoints", step), read, nullptr);
        return read.values().as<float>()[0];
    }

    test::TemporaryFolder folder;
    std::unique_ptr<Device> device = make_device("cpu");
    Arena arena{*device};
    ProcessGrid grid{test::world(), {}};
    io::IoThread io{grid.world(), grid.world().allows_threads()};
    ParameterSet parameters{arena, {{"weight", {200, 100}}}};
    ShardedAdamW optimizer{arena, grid, parameters, {}};
    std::map<std::string, std::int64_t> rows_before;
    std::unique_ptr<io::RunLog> log;
    CheckpointOptions options;
};

TEST_F(CheckpointsTest, HoldWhatWasThereWhenTheyWereStarted) {
    for (bool const background : {true, false}) {
        options.background = background;
        auto writing = checkpoints();
        float* const values = parameters.values().as<float>();
        float const before = values[0];
        writing.start(at(background ? 1 : 2));
        values[0] = before + 1;  // as the next step would
        writing.finish();
        EXPECT_EQ(first_in(background ? 1 : 2), before);
    }
}

// Rank 0 alone looks, now and then; the ranks' collective calls must meet all the same.
TEST_F(CheckpointsTest, OneRankMayHaveLooked) {
    auto writing = checkpoints();
    for (std::int64_t step = 1; step <= 4; ++step) {
        writing.start(at(step));
        io.call([] {});  // behind it in the queue
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        if (grid.is_root()) writing.look();
        EXPECT_EQ(max_over(grid.world(), step), step);
    }
    writing.finish();
    agree(grid.world(), [&] {
        if (log) log->flush();
    });
    EXPECT_EQ(io::list_checkpoints(folder / "checkpoints").size(), 4U);
}

TEST_F(CheckpointsTest, NumbersThatAreNotFiniteAreRefused) {
    auto writing = checkpoints();
    if (optimizer.shard().contains(0)) parameters.values().as<float>()[0] = std::nanf("");
    EXPECT_THROW(writing.start(at(1)), Error);
    EXPECT_TRUE(io::list_checkpoints(folder / "checkpoints").empty());
}

}  // namespace
}  // namespace selvage
