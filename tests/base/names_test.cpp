// SPDX-License-Identifier: Apache-2.0
#include "base/names.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/build_info.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/timer.h"

namespace selvage {
namespace {

TEST(Names, Nearest) {
    std::vector<std::string> const names = {"train.lanes", "train.steps_per_round", "run.seed", "run.rounds"};
    EXPECT_EQ(nearest_name("train.lane", names), "train.lanes");
    EXPECT_EQ(nearest_name("trian.lanes", names), "train.lanes");
    EXPECT_EQ(nearest_name("run.sed", names), "run.seed");
    EXPECT_EQ(nearest_name("run.rounds", names), "run.rounds");
    EXPECT_EQ(nearest_name("something.else", names), "");
    EXPECT_EQ(nearest_name("", {}), "");
    // Two letters may differ even in short names; three may not.
    std::vector<std::string> const one = {"none"};
    EXPECT_EQ(nearest_name("noxx", one), "none");
    EXPECT_EQ(nearest_name("nxxx", one), "");
    // The first of equals.
    std::vector<std::string> const equal = {"ab", "ac"};
    EXPECT_EQ(nearest_name("ad", equal), "ab");
}

TEST(Format, Durations) {
    EXPECT_EQ(format_duration(0), "0.0s");
    EXPECT_EQ(format_duration(4.24), "4.2s");
    EXPECT_EQ(format_duration(60), "1m00s");
    EXPECT_EQ(format_duration(185), "3m05s");
    EXPECT_EQ(format_duration(3599.7), "1h00m");
    EXPECT_EQ(format_duration(3725), "1h02m");
    EXPECT_EQ(format_duration(-1), "?");
    EXPECT_EQ(format_duration(std::nan("")), "?");
    EXPECT_EQ(format_duration(std::numeric_limits<double>::infinity()), "?");
}

TEST(Format, Bytes) {
    EXPECT_EQ(format_bytes(0), "0 B");
    EXPECT_EQ(format_bytes(1023), "1023 B");
    EXPECT_EQ(format_bytes(1024), "1.0 KiB");
    EXPECT_EQ(format_bytes(12.34 * 1024 * 1024), "12.3 MiB");
    EXPECT_EQ(format_bytes(std::ldexp(1, 60)), "1024.0 PiB");
}

// '0' stands for any digit.
bool looks_like(std::string const& text, std::string const& shape) {
    return text.size() == shape.size() && std::equal(text.begin(), text.end(), shape.begin(), [](char c, char s) {
               return s == '0' ? c >= '0' && c <= '9' : c == s;
           });
}

TEST(Format, TimeAndVersion) {
    EXPECT_TRUE(looks_like(utc_now(), "0000-00-00T00:00:00Z")) << utc_now();
    EXPECT_TRUE(looks_like(version(), "0.0.0")) << version();
    std::string const commit = git_commit();
    std::size_t const digits = commit.find_first_not_of("0123456789abcdef");
    EXPECT_TRUE(commit == "unknown" || (commit.size() >= 40 && (digits == std::string::npos || digits == 40)))
        << commit;
}

TEST(Digest, StreamEqualsWhole) {
    // XXH3's published value for no input.
    EXPECT_EQ(digest_of(std::string_view()).hex(), "99aa06d3014798d86001c324468d497f");
    std::string text(1000, 'x');
    for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7);
    DigestStream stream;
    stream.update(text.data(), 1);
    stream.update(text.data() + 1, 600);
    stream.update(text.data() + 601, 399);
    EXPECT_EQ(stream.finish(), digest_of(text));
    std::string const before = digest_of(text).hex();
    text[500] = static_cast<char>(text[500] ^ 1);
    EXPECT_NE(digest_of(text).hex(), before);
}

TEST(Errors, CarryCodeAndMessage) {
    try {
        fail(ExitCode::missing_input, "no file {}", "x.h5");
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), ExitCode::missing_input);
        EXPECT_STREQ(error.what(), "no file x.h5");
    }
    SELVAGE_CHECK(1 + 1 == 2, "never shown");
    try {
        int const lanes = 3;
        SELVAGE_CHECK(lanes == 4, "lanes {}", lanes);
        FAIL();
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), ExitCode::internal);
        std::string const message = error.what();
        for (char const* part : {"lanes 3", "lanes == 4", "names_test.cpp:", "bug in Selvage"})
            EXPECT_NE(message.find(part), std::string::npos) << message;
    }
}

}  // namespace
}  // namespace selvage
