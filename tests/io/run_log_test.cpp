// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "io/contents.h"
#include "samples.h"
#include "support/test_main.h"

namespace selvage::io::test {
namespace {

using ::testing::ElementsAre;
using ::testing::FieldsAre;
using ::testing::HasSubstr;

struct RunLogTest : ::testing::Test {
    selvage::test::TemporaryFolder folder;
    std::unique_ptr<Communicator> world = selvage::test::world();
    std::unique_ptr<IoThread> io = io_thread(*world);
};

TEST_F(RunLogTest, ResumedEqualsUninterrupted) {
    RunLog whole(*io, folder / "whole.h5", "[run]\n", {});
    fill_run_log(whole, 0, 7);
    whole.flush();

    std::map<std::string, std::int64_t> rows;
    {
        RunLog first(*io, folder / "cut.h5", "[run]\n", {});
        fill_run_log(first, 0, 3);
        rows = first.table_rows();
        EXPECT_EQ(rows, (std::map<std::string, std::int64_t>{{"steps", 3}, {"sweeps", 3}, {"evaluations", 3}}));
        // What comes after the checkpoint is done again by the resumed run.
        fill_run_log(first, 3, 5);
        first.event("stop", "killed");
        first.flush();
    }
    RunLog second(*io, folder / "cut.h5", "[run]\n", rows);
    EXPECT_EQ(second.steps().size(), 3U);
    fill_run_log(second, 3, 7);
    second.event("resume", "from step 3");
    second.flush();
    EXPECT_EQ(content_of(*io, folder / "cut.h5"), content_of(*io, folder / "whole.h5"));
    check_file(*io, folder / "cut.h5");
    EXPECT_THAT(read_bytes(folder / "cut.h5"), HasSubstr("killed"));
    EXPECT_THAT(read_bytes(folder / "cut.h5"), HasSubstr("from step 3"));
}

TEST_F(RunLogTest, RowsComeBack) {
    {
        RunLog log(*io, folder / "run.h5", "", {});
        fill_run_log(log, 0, 4);
        log.set_memory({{"parameters", 400}, {"KV cache", 30}});
        log.add(StepRow{5, 2, std::nan(""), 3, 0.1, 7, 0.5, 1});
        log.add(CheckpointRow{4, 1000, 0.25, 1.5});
        log.start_flush(true);
        log.add(CheckpointRow{5, 2000, 0.5, 2.5});
        log.start_flush(true);
        log.flush();
    }
    RunLog log(*io, folder / "run.h5", "", {{"steps", 4}, {"sweeps", 4}, {"evaluations", 4}});
    EXPECT_EQ(log.steps().size(), 4U);
    RunLog(*io, folder / "run.h5", "", {{"steps", 5}, {"sweeps", 4}, {"evaluations", 4}}).flush();
    EXPECT_THAT(io->call([&] { return load_run(FileReader(folder / "run.h5")); }).checkpoints,
                ElementsAre(FieldsAre(4, 1000, 0.25, 1.5), FieldsAre(5, 2000, 0.5, 2.5)));
    check_file(*io, folder / "run.h5");  // a skipped step may have any loss
    EXPECT_EQ(log.steps()[1].loss, 1.0);
    EXPECT_EQ(log.steps()[3].target_tokens, 103);
    EXPECT_EQ(log.sweeps()[1].kind, "train");
    EXPECT_EQ(log.sweeps()[1].busy_by_rank, (std::vector<double>{0.5, 1.0}));
    EXPECT_TRUE(log.sweeps()[2].busy_by_rank.empty());
    EXPECT_EQ(log.sweeps()[3].busy_by_rank, (std::vector<double>{0.25}));
    EXPECT_EQ(log.evaluations()[2].metrics.at("context_gap").by_position[2], 0.5);
    EXPECT_EQ(log.evaluations()[1].metrics.count("context_gap"), 0U);
    EXPECT_EQ(log.evaluations()[3].metrics.at("forced_nll").value, 4.0);
    log.flush();
    EXPECT_THAT(read_bytes(folder / "run.h5"), HasSubstr("KV cache"));
    check_file(*io, folder / "run.h5");
}

TEST_F(RunLogTest, DamageStopsAResumeButNotAFreshStart) {
    {
        RunLog log(*io, folder / "run.h5", "", {});
        fill_run_log(log, 0, 4);
        log.flush();
    }
    std::string bytes = read_bytes(folder / "run.h5");
    bytes[bytes.size() / 2] ^= 4;
    write_bytes(folder / "run.h5", bytes);
    Outcome const outcome = outcome_of([&] { RunLog(*io, folder / "run.h5", "", {{"steps", 2}}); });
    EXPECT_EQ(outcome.code, ExitCode::bad_data);
    EXPECT_THAT(outcome.message, HasSubstr("remove the file"));
    RunLog log(*io, folder / "run.h5", "", {});
    EXPECT_TRUE(log.steps().empty());
}

TEST_F(RunLogTest, FewerRowsThanTheCheckpointCountsIsAnError) {
    {
        RunLog log(*io, folder / "run.h5", "", {});
        fill_run_log(log, 0, 4);
        log.flush();
    }
    Outcome const outcome = outcome_of([&] { RunLog(*io, folder / "run.h5", "", {{"steps", 5}}); });
    EXPECT_EQ(outcome.code, ExitCode::bad_data);
    EXPECT_THAT(outcome.message, HasSubstr("4 rows of steps"));
}

}  // namespace
}  // namespace selvage::io::test
