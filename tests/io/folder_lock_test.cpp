// SPDX-License-Identifier: Apache-2.0
#include "io/folder_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/timer.h"
#include "samples.h"
#include "support/test_main.h"

namespace selvage::io::test {
namespace {

using ::testing::HasSubstr;

TEST(FolderLock, IsExclusiveAndLeavesNothing) {
    selvage::test::TemporaryFolder const folder;
    {
        FolderLock const lock(folder / "out", 0);
        Outcome const outcome = outcome_of([&] { FolderLock(folder / "out", 0.2); });
        EXPECT_EQ(outcome.code, ExitCode::io);
        EXPECT_THAT(outcome.message, HasSubstr(fmt::format("process {} on ", getpid())));
    }
    EXPECT_TRUE(std::filesystem::is_empty(folder / "out"));
    EXPECT_NO_THROW(FolderLock(folder / "out", 0));
}

TEST(FolderLock, OfAnotherProcessIsWaitedForAndOfADeadOneTakenOver) {
    selvage::test::TemporaryFolder const folder;
    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    pid_t const child = fork();
    if (child == 0) {
        FolderLock const lock(folder.path(), 0);
        if (write(ready[1], "x", 1) != 1) _exit(1);
        pause();
        _exit(0);
    }
    char byte = 0;
    ASSERT_EQ(read(ready[0], &byte, 1), 1);
    Timer const timer;
    Outcome const outcome = outcome_of([&] { FolderLock(folder.path(), 0.3); });
    EXPECT_EQ(outcome.code, ExitCode::io);
    EXPECT_GE(timer.seconds(), 0.3);
    std::array<char, 256> host{};
    gethostname(host.data(), host.size() - 1);
    EXPECT_THAT(outcome.message, HasSubstr(fmt::format("process {} on {}", child, host.data())));

    ASSERT_EQ(kill(child, SIGKILL), 0);
    ASSERT_EQ(waitpid(child, nullptr, 0), child);
    EXPECT_FALSE(std::filesystem::is_empty(folder.path()));
    EXPECT_NO_THROW(FolderLock(folder.path(), 0));
}

TEST(FolderLock, AFolderThatCannotBeMadeIsAnError) {
    selvage::test::TemporaryFolder const folder;
    write_bytes(folder / "file", "x");
    EXPECT_EQ(outcome_of([&] { FolderLock(folder / "file" / "out", 0); }).code, ExitCode::io);
}

}  // namespace
}  // namespace selvage::io::test
