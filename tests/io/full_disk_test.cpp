// SPDX-License-Identifier: Apache-2.0
// What one rank writes onto a full disk: an Error with the reason, the old file untouched, nothing left over, and no
// crash then or at the end of the process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include "io/file_writer.h"
#include "samples.h"
#include "support/test_main.h"

namespace selvage::io::test {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

struct FullDisk : ::testing::Test {
    selvage::test::TemporaryFolder folder;
    std::unique_ptr<Communicator> world = selvage::test::world();
    std::unique_ptr<IoThread> io = io_thread(*world);
    SmallDisk disk{folder / "disk", 1 << 20};
    Path const path = folder / "disk/a.h5";

    void SetUp() override {
        if (!disk.is_mounted()) GTEST_SKIP() << "mounting needs root";
        write_data(*io, path, data(10));
    }
    void expect_untouched() {
        check_file(*io, path);
        EXPECT_EQ(read_data(*io, path).pairs(), 10);
        EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder / "disk"), {}), 1);
    }
};

TEST_F(FullDisk, IsSeenBeforeTheFirstByte) {
    Outcome const outcome = outcome_of([&] { write_data(*io, path, data(200000)); });
    EXPECT_EQ(outcome.code, ExitCode::io);
    EXPECT_THAT(outcome.message, HasSubstr("No space left on device"));
    EXPECT_THAT(outcome.message, HasSubstr("are free"));
    expect_untouched();
}

TEST_F(FullDisk, InTheMiddleOfHdf5LeavesTheLibraryUsable) {
    std::vector<Token> const tokens(1 << 20, 7);
    for (int repeat = 0; repeat < 3; ++repeat) {
        Outcome const outcome = outcome_of([&] {
            io->call([&] {
                FileWriter file(path, "selvage-data", {});
                file.root_attributes("", {});
                file.column("/tokens", tokens);
                file.commit();
            });
        });
        EXPECT_EQ(outcome.code, ExitCode::io);
        EXPECT_THAT(outcome.message, HasSubstr("/tokens"));
        EXPECT_THAT(outcome.message, HasSubstr("No space left"));
        expect_untouched();
    }
    write_data(*io, path, data(20));
    EXPECT_EQ(read_data(*io, path).pairs(), 20);
}

TEST_F(FullDisk, KeepsTheOldRunLog) {
    Path const log_path = folder / "disk/run.h5";
    RunLog log(*io, log_path, "", {});
    fill_run_log(log, 0, 3);
    log.flush();
    std::string const before = read_bytes(log_path);
    write_bytes(folder / "disk/filler", std::string(2 << 20, 'x'));
    fill_run_log(log, 3, 30);
    EXPECT_EQ(outcome_of([&] { log.flush(); }).code, ExitCode::io);
    EXPECT_EQ(read_bytes(log_path), before);
    std::filesystem::remove(folder / "disk/filler");
    log.flush();
    EXPECT_EQ(RunLog(*io, log_path, "", log.table_rows()).steps().size(), 30U);
}

TEST(FileSizeLimit, IsAnError) {
    selvage::test::TemporaryFolder const folder;
    auto const world = selvage::test::world();
    auto const io = io_thread(*world);
    rlimit before{};
    ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    rlimit const small{200000, before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    Outcome const reserved = outcome_of([&] { write_data(*io, folder / "a.h5", data(100000)); });
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    EXPECT_EQ(reserved.code, ExitCode::io);
    EXPECT_THAT(reserved.message, HasSubstr("File too large"));
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
    write_data(*io, folder / "a.h5", data(10));
    check_file(*io, folder / "a.h5");
}

}  // namespace
}  // namespace selvage::io::test
