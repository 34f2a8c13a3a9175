// SPDX-License-Identifier: Apache-2.0
// Every kind of file of one rank: what is written comes back, from us and from plain h5py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "io/file_writer.h"
#include "samples.h"
#include "support/test_main.h"

namespace selvage::io::test {
namespace {

using ::testing::HasSubstr;

class RoundTrip : public ::testing::TestWithParam<std::int64_t> {
  protected:
    selvage::test::TemporaryFolder folder;
    std::unique_ptr<Communicator> world = selvage::test::world();
    std::unique_ptr<IoThread> io = io_thread(*world);
};

TEST_P(RoundTrip, Data) {
    DataFile const written = data(GetParam());
    write_data(*io, folder / "a.h5", written);
    DataFile const read = read_data(*io, folder / "a.h5");
    EXPECT_EQ(read.tokens, written.tokens);
    EXPECT_EQ(read.offsets, written.offsets);
    EXPECT_EQ(read.prompt_length, written.prompt_length);
    EXPECT_EQ(read.tokenizer, written.tokenizer);
    EXPECT_EQ(read.tokenizer.phrases, written.tokenizer.phrases);
    EXPECT_EQ(read.attributes.text, written.attributes.text);
    EXPECT_EQ(read.attributes.integers, written.attributes.integers);
}

TEST_P(RoundTrip, Drafts) {
    DraftsFile const written = drafts(GetParam());
    write_drafts(*io, folder / "a.h5", written);
    DraftsFile const read = read_drafts(*io, folder / "a.h5");
    EXPECT_EQ(read.deck, written.deck);
    EXPECT_EQ(read.attributes.numbers, written.attributes.numbers);
    ASSERT_EQ(read.drafts.size(), written.drafts.size());
    for (std::size_t i = 0; i < read.drafts.size(); ++i) {
        EXPECT_EQ(read.drafts[i].example, written.drafts[i].example);
        EXPECT_EQ(read.drafts[i].sample, written.drafts[i].sample);
        EXPECT_EQ(read.drafts[i].turn, written.drafts[i].turn);
        EXPECT_EQ(read.drafts[i].finish, written.drafts[i].finish);
        EXPECT_EQ(read.drafts[i].tokens, written.drafts[i].tokens);
        EXPECT_EQ(read.drafts[i].logprob, written.drafts[i].logprob);
        EXPECT_EQ(read.drafts[i].sampled_logprob, written.drafts[i].sampled_logprob);
    }
}

TEST_P(RoundTrip, Woven) {
    WovenFile const written = woven(GetParam());
    write_woven(*io, folder / "a.h5", written);
    WovenFile const read = read_woven(*io, folder / "a.h5");
    EXPECT_EQ(read.uses, written.uses);
    EXPECT_EQ(read.attributes.integers, written.attributes.integers);
    ASSERT_EQ(read.rows.size(), written.rows.size());
    for (std::size_t i = 0; i < read.rows.size(); ++i) {
        EXPECT_EQ(read.rows[i].example, written.rows[i].example);
        EXPECT_EQ(read.rows[i].sample, written.rows[i].sample);
        EXPECT_EQ(read.rows[i].method, written.rows[i].method);
        EXPECT_EQ(read.rows[i].answer_start, written.rows[i].answer_start);
        EXPECT_EQ(read.rows[i].input_tokens, written.rows[i].input_tokens);
        EXPECT_EQ(read.rows[i].target_tokens, written.rows[i].target_tokens);
        EXPECT_EQ(read.rows[i].loss_weight, written.rows[i].loss_weight);
        EXPECT_EQ(read.rows[i].origin, written.rows[i].origin);
        EXPECT_EQ(read.rows[i].target_origin, written.rows[i].target_origin);
    }
}

TEST_P(RoundTrip, Scores) {
    ScoresFile const written = scores(GetParam());
    write_scores(*io, folder / "a.h5", written);
    ScoresFile const read = read_scores(*io, folder / "a.h5");
    EXPECT_EQ(read.tokens, written.tokens);
    EXPECT_EQ(read.offsets, written.offsets);
    EXPECT_EQ(read.logprob, written.logprob);
}

TEST_P(RoundTrip, EveryKindIsWhole) {
    for (Path const& path : write_all_kinds(*io, folder.path(), GetParam())) {
        EXPECT_NO_THROW(check_file(*io, path)) << path;
        EXPECT_THAT(describe_file(*io, path), HasSubstr("selvage-" + path.stem().string()));
    }
    for (auto const& entry : std::filesystem::directory_iterator(folder.path()))
        EXPECT_EQ(entry.path().extension(), ".h5") << "left over: " << entry.path();
}

TEST_P(RoundTrip, PlainH5pyReadsAll) {
    if (std::system("/usr/bin/python3 -c 'import h5py' 2> /dev/null") != 0) GTEST_SKIP() << "no h5py";
    write_all_kinds(*io, folder.path(), GetParam());
    Model model;
    model.write(*io, folder / "step-00000400.h5");
    std::string const script = (selvage::test::files() / "io/read_with_h5py.py").string();
    EXPECT_EQ(std::system(fmt::format("/usr/bin/python3 {} {} {}", script, folder.path().string(), GetParam()).c_str()),
              0);
}

INSTANTIATE_TEST_SUITE_P(Sizes, RoundTrip, ::testing::Values(0, 1, 50));

TEST(Chunks, AreAFunctionOfTheShapeAndFitIt) {
    EXPECT_EQ(chunk_shape({10}, 4), (Dims{10}));
    EXPECT_EQ(chunk_shape({1 << 20}, 4), (Dims{1 << 18}));
    // Two nearly equal chunks, not a full one and a short one that is stored at full size.
    EXPECT_EQ(chunk_shape({(1 << 18) + 1}, 4), (Dims{(1 << 17) + 1}));
    EXPECT_EQ(chunk_shape({1000, 512}, 4), (Dims{500, 512}));
    EXPECT_EQ(chunk_shape({3, 1 << 19}, 4), (Dims{1, 1 << 18}));
}

TEST(WholeFile, AppearsUnderItsNameOnlyWhenCommitted) {
    selvage::test::TemporaryFolder const folder;
    auto const world = selvage::test::world();
    auto const io = io_thread(*world);
    Path const path = folder / "a.h5";
    write_data(*io, path, data(3));
    std::string const before = read_bytes(path);
    io->call([&] {
        FileWriter file(path, "selvage-data", {});
        file.root_attributes("", {});
        for (auto const& entry : std::filesystem::directory_iterator(folder.path())) {
            EXPECT_TRUE(entry.path() == path || entry.path().extension() != ".h5") << entry.path();
        }
        return 0;
    });
    EXPECT_EQ(read_bytes(path), before);
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(WholeFile, AFolderThatCannotBeMadeIsAnError) {
    selvage::test::TemporaryFolder const folder;
    auto const world = selvage::test::world();
    auto const io = io_thread(*world);
    write_bytes(folder / "file", "x");
    Outcome const outcome = outcome_of([&] { write_data(*io, folder / "file" / "a.h5", data(1)); });
    EXPECT_EQ(outcome.code, ExitCode::io);
    EXPECT_THAT(outcome.message, HasSubstr("Not a directory"));
}

TEST(IoThread, RunsJobsInOrderAndPassesErrorsOn) {
    auto const world = selvage::test::world();
    auto const io = io_thread(*world);
    std::vector<int> order;
    std::vector<std::future<void>> jobs;
    for (int i = 0; i < 100; ++i) jobs.push_back(io->submit([&order, i] { order.push_back(i); }));
    for (auto& job : jobs) job.get();
    for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
    Outcome const outcome = outcome_of([&] { io->call([] { fail(ExitCode::io, "here"); }); });
    EXPECT_EQ(outcome.code, ExitCode::io);
}

}  // namespace
}  // namespace selvage::io::test
