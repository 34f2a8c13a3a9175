// SPDX-License-Identifier: Apache-2.0
// What comes out does not depend on the number of ranks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "data/prepare.h"
#include "support/test_main.h"

namespace selvage {
namespace {

class PrepareRanks : public testing::Test {
  protected:
    // Two files of 500 and 300 lines with empty, bad, long and repeated ones among them; `bad` of the second is no
    // JSON.
    std::vector<std::string> write(int bad) {
        std::vector<std::string> paths = {(folder_ / "a.jsonl").string(), (folder_ / "b.jsonl").string()};
        if (world_->rank() == 0)
            for (int f = 0; f < 2; ++f) {
                std::ofstream file(paths[static_cast<std::size_t>(f)]);
                for (int i = 1; i <= (f == 0 ? 500 : 300); ++i) {
                    if (i % 50 == 0)
                        file << "\n";
                    else if (f == 1 && (i == bad || i == bad + 70 || i == bad + 140))
                        file << "{\n";
                    else
                        file << fmt::format(R"({{"prompt": "{}", "response": "{}"}})", i % 90,
                                            std::string(static_cast<std::size_t>(i % 37 + 1), 'x'))
                             << "\n";
                }
            }
        world_->barrier();
        return paths;
    }
    std::unique_ptr<Communicator> world_ = test::world();
    test::TemporaryFolder folder_;
    std::unique_ptr<Tokenizer> bytes_ = open_tokenizer("bytes");
};

TEST_F(PrepareRanks, TheFileIsTheSame) {
    auto const paths = write(103);
    auto const alone = world_->split(world_->rank(), 0);
    for (bool const drop : {false, true}) {
        PrepareOptions const options{true, drop, 30};
        PreparedData const expected = prepare_data(*alone, paths, *bytes_, options);
        PreparedData const got = prepare_data(*world_, paths, *bytes_, options);
        if (world_->rank() != 0) continue;
        EXPECT_EQ(got.file.tokens, expected.file.tokens);
        EXPECT_EQ(got.file.offsets, expected.file.offsets);
        EXPECT_EQ(got.file.prompt_length, expected.file.prompt_length);
        EXPECT_EQ(got.file.attributes.text, expected.file.attributes.text);
        EXPECT_EQ(got.file.attributes.integers, expected.file.attributes.integers);
        EXPECT_EQ(describe(got, paths, options), describe(expected, paths, options));
        EXPECT_THAT(describe(got, paths, options), testing::HasSubstr("b.jsonl: 103 173 243\n"));
    }
}

TEST_F(PrepareRanks, TheFirstBadLineIsNamed) {
    for (int const bad : {1, 63, 64, 65, 130, 151}) {
        auto const paths = write(bad);
        try {
            prepare_data(*world_, paths, *bytes_, {});
            ADD_FAILURE() << "no error";
        } catch (Error const& error) {
            EXPECT_EQ(error.code(), ExitCode::bad_data);
            EXPECT_THAT(error.what(), testing::HasSubstr(fmt::format("b.jsonl:{}: ", bad)));
        }
    }
}

TEST_F(PrepareRanks, OtherTextOnARankIsRefused) {
    if (world_->size() == 1) GTEST_SKIP() << "needs two ranks";
    auto const own = (folder_ / fmt::format("rank-{}.jsonl", world_->rank())).string();
    std::ofstream(own) << fmt::format(R"({{"prompt": "{}", "response": "b"}})", world_->rank());
    EXPECT_THROW(prepare_data(*world_, {own}, *bytes_, {}), Error);
}

}  // namespace
}  // namespace selvage
