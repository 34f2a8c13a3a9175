// SPDX-License-Identifier: Apache-2.0
#include "io/journal.h"

#include <gmock/gmock.h>

#include <fstream>

#include "base/error.h"
#include "base/philox.h"
#include "support/test_main.h"

namespace selvage::io {
namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<std::byte>;

Bytes record(std::size_t number) {
    Bytes bytes(number * 37 % 400);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(number * 31 + i * i);
    return bytes;
}

struct JournalTest : testing::Test {
    selvage::test::TemporaryFolder folder;
    fs::path const path = journal_path(folder / "journal", "round-0001", 3);

    void write(std::size_t from, std::size_t end, std::string const& belongs_to = "one") const {
        JournalWriter writer(path, belongs_to);
        for (std::size_t i = from; i < end; ++i) writer.add(record(i));
    }
    void expect_records(std::size_t count) const {
        Journal const journal = read_journal(path);
        ASSERT_EQ(journal.records.size(), count);
        for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(journal.records[i], record(i)) << i;
    }
    std::string contents() const {
        std::ifstream file(path, std::ios::binary);
        return {std::istreambuf_iterator<char>(file), {}};
    }
    void replace(std::string const& contents) const { std::ofstream(path, std::ios::binary) << contents; }
};

TEST_F(JournalTest, GoesOnWhereItEnded) {
    EXPECT_EQ(path.filename(), "round-0001.rank-3");
    write(0, 20);
    write(20, 50);
    expect_records(50);
    EXPECT_EQ(read_journal(path).belongs_to, "one");
    EXPECT_EQ(journals_of(folder / "journal", "round-0001"), std::vector{path});
    EXPECT_TRUE(journals_of(folder / "journal", "round-0002").empty());
    EXPECT_TRUE(journals_of(folder / "nowhere", "round-0001").empty());
    EXPECT_TRUE(read_journal(folder / "nowhere").records.empty());
}

TEST_F(JournalTest, BelongsToOneThing) {
    write(0, 20);
    write(0, 5, "other");
    expect_records(5);
    EXPECT_EQ(read_journal(path).belongs_to, "other");
}

// Cut anywhere, as a kill may: a whole number of records is read, and what is added later is read behind them.
TEST_F(JournalTest, CutAnywhere) {
    write(0, 12);
    std::string const whole = contents();
    std::size_t last = 0;
    for (std::size_t size = 0; size <= whole.size(); size += 1 + size % 7) {
        replace(whole.substr(0, size));
        Journal const journal = read_journal(path);
        EXPECT_EQ(journal.good_bytes + journal.lost_bytes, static_cast<std::int64_t>(size));
        EXPECT_GE(journal.records.size(), last);
        last = journal.records.size();
        for (std::size_t i = 0; i < last; ++i) ASSERT_EQ(journal.records[i], record(i));
        if (size % 50 != 0) continue;
        write(last, 12);
        EXPECT_EQ(contents(), whole);
    }
    EXPECT_GE(last, 11U);
}

// A flipped byte is never read as a record that was not written.
TEST_F(JournalTest, FlippedAnywhere) {
    write(0, 12);
    std::string const whole = contents();
    for (std::size_t at = 0; at < whole.size(); ++at) {
        std::string damaged = whole;
        damaged[at] = static_cast<char>(damaged[at] ^ (1 << at % 8));
        replace(damaged);
        Journal const journal = read_journal(path);
        EXPECT_LT(journal.records.size(), 12U);
        EXPECT_GT(journal.lost_bytes, 0);
        for (std::size_t i = 0; i < journal.records.size(); ++i) ASSERT_EQ(journal.records[i], record(i)) << at;
    }
}

// The standard's check value: a reader in another language can be written from the header's description.
TEST_F(JournalTest, LayoutOfTheFile) {
    JournalWriter(path, "123456789");
    std::string const wanted(
        "\x09\x00\x00\x00\x83\x92\x06\xe3"
        "123456789",
        17);
    EXPECT_EQ(contents(), wanted);
}

TEST_F(JournalTest, NotWritable) {
    std::ofstream(folder / "file") << "no folder";
    try {
        JournalWriter(folder / "file" / "x.rank-0", "one");
        FAIL();
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), ExitCode::io);
    }
}

}  // namespace
}  // namespace selvage::io
