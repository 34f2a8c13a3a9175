// SPDX-License-Identifier: Apache-2.0
#include "data/text_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/philox.h"
#include "support/packed_text.h"
#include "support/test_main.h"

namespace selvage {
namespace {

using test::gzip;
using test::zstd;

class Source : public testing::TestWithParam<std::string (*)(std::string const&)> {
  protected:
    // The lines, joined again.
    std::string read(std::string const& content) const {
        std::ofstream(path_, std::ios::binary) << content;
        LineReader reader(path_);
        std::string text, line;
        while (reader.next(line)) text += line + (reader.had_newline() ? "\n" : "");
        return text;
    }
    void expect_damaged(std::string const& content) const {
        try {
            read(content);
            ADD_FAILURE() << "no error";
        } catch (Error const& error) {
            EXPECT_EQ(error.code(), ExitCode::bad_data);
            EXPECT_THAT(error.what(), testing::HasSubstr(path_ + ": packed text that is damaged"));
        }
    }
    // Lines of many lengths, some of them longer than what is read at once.
    static std::string text() {
        std::string all;
        Random const random(1, Purpose::test);
        for (std::uint32_t i = 0; i < 60; ++i)
            all += std::string(i % 20 == 7 ? 300000 : i % 7, static_cast<char>('a' + random.words({i})[0] % 26)) + "\n";
        for (std::uint32_t i = 0; i < 100000; ++i) all += static_cast<char>(' ' + random.words({i, 1})[0] % 90);
        return all;
    }
    test::TemporaryFolder folder_;
    std::string path_ = (folder_ / "text").string();
};

TEST_F(Source, PlainLines) {
    for (std::string const& content : {std::string(), std::string("\n"), std::string("a"), std::string("\n\na\n\nb"),
                                       std::string("\x1f"), std::string("\x28\xb5\x2f"), text()})
        EXPECT_EQ(read(content), content);
}

TEST_P(Source, PackedTextIsTheSame) {
    std::string const whole = text();
    EXPECT_EQ(read(GetParam()(whole)), whole);
    EXPECT_EQ(read(GetParam()("")), "");
    EXPECT_EQ(read(GetParam()("one\ntw") + GetParam()("") + GetParam()("o\n") + GetParam()(whole)),
              "one\ntwo\n" + whole);
}

TEST_P(Source, DamageIsFound) {
    std::string const packed = GetParam()(text());
    for (std::size_t const kept :
         {std::size_t{4}, std::size_t{12}, packed.size() / 2, packed.size() - 5, packed.size() - 1})
        expect_damaged(packed.substr(0, kept));
    std::string flipped = packed;
    flipped[packed.size() / 2] ^= 1;
    expect_damaged(flipped);
    expect_damaged(packed + "more");
    std::string second = packed;
    second[0] = '?';
    expect_damaged(packed + second);
    second = packed;
    second.pop_back();
    expect_damaged(packed + second);
}

INSTANTIATE_TEST_SUITE_P(Packed, Source, testing::Values(&gzip, &zstd));

}  // namespace
}  // namespace selvage
