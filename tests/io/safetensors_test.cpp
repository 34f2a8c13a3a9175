// SPDX-License-Identifier: Apache-2.0
#include "io/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <limits>

#include "base/error.h"
#include "io/half.h"

namespace selvage::io {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

class Safetensors : public testing::Test {
  protected:
    Safetensors() : folder_(fs::temp_directory_path() / fmt::format("selvage-safetensors-{}", getpid())) {
        fs::remove_all(folder_);
        fs::create_directories(folder_);
    }
    ~Safetensors() override { fs::remove_all(folder_); }

    fs::path write(std::string const& name, std::string const& bytes) const {
        std::ofstream(folder_ / name, std::ios::binary) << bytes;
        return folder_ / name;
    }
    static std::string with_length(std::string const& header, std::size_t value_bytes) {
        std::uint64_t const length = header.size();
        std::string file(sizeof length, '\0');
        std::memcpy(file.data(), &length, sizeof length);
        return file + header + std::string(value_bytes, '\0');
    }
    // What is said about a file with this header.
    std::string refusal(std::string const& header, std::size_t value_bytes) const {
        return refusal_of([&] { SafetensorsFile(write("x.safetensors", with_length(header, value_bytes))); });
    }
    static std::string refusal_of(std::function<void()> const& action) {
        try {
            action();
        } catch (Error const& error) {
            return fmt::format("{} {}", static_cast<int>(error.code()), error.what());
        }
        return "accepted";
    }

    fs::path folder_;
};

TEST(Half, ThereAndBackForEveryNumber) {
    for (std::uint32_t bits = 0; bits < 65536; ++bits) {
        auto const half = static_cast<std::uint16_t>(bits);
        float const f16 = from_f16(half);
        float const bf16 = from_bf16(half);
        EXPECT_EQ(std::isfinite(f16) ? to_f16(f16) : half, half);
        EXPECT_EQ(std::isfinite(bf16) ? to_bf16(bf16) : half, half);
    }
    EXPECT_EQ(from_f16(0x3c00), 1.0F);
    EXPECT_EQ(from_f16(0x7bff), 65504.0F);
    EXPECT_EQ(from_f16(0x8001), -0x1p-24F);
    EXPECT_EQ(from_f16(0xfc00), -std::numeric_limits<float>::infinity());
    EXPECT_TRUE(std::isnan(from_f16(0x7e00)));
}

// Between neighbours the nearer one, in the middle the even one.
TEST(Half, RoundsToNearestEven) {
    for (std::uint32_t bits = 0; bits < 0x7bff; ++bits) {
        auto const low = static_cast<std::uint16_t>(bits);
        auto const high = static_cast<std::uint16_t>(bits + 1);
        float const middle = (from_f16(low) + from_f16(high)) / 2;
        ASSERT_EQ(to_f16(middle), bits % 2 == 0 ? low : high) << bits;
        ASSERT_EQ(to_f16(std::nextafter(middle, 0.0F)), low) << bits;
        ASSERT_EQ(to_f16(-std::nextafter(middle, 1e6F)), high | 0x8000) << bits;
    }
    EXPECT_EQ(to_f16(65519.9F), 0x7bff);
    EXPECT_EQ(to_f16(65520.0F), 0x7c00);
    EXPECT_EQ(to_bf16(1.00390625F), 0x3f80);  // half way from 1 to 1 + 2^-7
    EXPECT_EQ(to_bf16(1.01171875F), 0x3f82);
}

TEST_F(Safetensors, WritesWhatItReads) {
    std::vector<StoredTensor> tensors(4);
    tensors[0] = {"halves", "F16", {3}, 0, 0};
    tensors[1] = {"matrix", "F32", {2, 3}, 0, 0};
    tensors[2] = {"brain", "BF16", {2, 2}, 0, 0};
    tensors[3] = {"scalar", "F32", {}, 0, 0};
    for (std::int64_t const most : {1000, 20}) {
        SafetensorsWriter writer(folder_, tensors, most);
        writer.create();
        writer.open();
        std::vector<float> const values = {1, -2.5F, 0.375F, 4, 5, 6};
        writer.write("matrix", {0, 2}, values.data());
        writer.write("matrix", {2, 6}, values.data() + 2);
        writer.write("halves", {0, 3}, values.data());
        writer.write("brain", {0, 4}, values.data());
        writer.write("scalar", {0, 1}, values.data() + 1);
        writer.sync();
        SafetensorsFolder const folder(folder_);
        EXPECT_EQ(folder.names().size(), 4U);
        EXPECT_EQ(folder.file_of("scalar").filename(),
                  most == 1000 ? "model.safetensors" : "model-00003-of-00003.safetensors");
        std::vector<float> back(6);
        folder.read("matrix", {0, 6}, back.data());
        EXPECT_EQ(back, values);
        folder.read("matrix", {4, 6}, back.data());
        EXPECT_EQ(back[0], 5);
        folder.read("halves", {0, 3}, back.data());
        EXPECT_THAT(std::span(back).first(3), ElementsAre(1, -2.5F, 0.375F));
        folder.read("brain", {1, 4}, back.data());
        EXPECT_THAT(std::span(back).first(3), ElementsAre(-2.5F, 0.375F, 4));
        folder.read("scalar", {0, 1}, back.data());
        EXPECT_EQ(back[0], -2.5F);
        EXPECT_EQ(folder.find("matrix")->begin % 8, 0);
        EXPECT_EQ(folder.find("nothing"), nullptr);
        for (auto const& entry : fs::directory_iterator(folder_)) fs::remove(entry);
    }
}

TEST_F(Safetensors, RefusesWhatDoesNotFitTheType) {
    SafetensorsWriter writer(folder_, {{"w", "F16", {2}, 0, 0}}, 1000);
    writer.create();
    writer.open();
    std::vector<float> const large = {1, 1e5F};
    EXPECT_THAT(refusal_of([&] { writer.write("w", {0, 2}, large.data()); }), HasSubstr("too large for F16"));
    std::vector<float> const bad = {1, std::numeric_limits<float>::quiet_NaN()};
    EXPECT_THAT(refusal_of([&] { writer.write("w", {0, 2}, bad.data()); }), HasSubstr("nan at 1 of tensor w"));
}

TEST_F(Safetensors, HeadersOfLies) {
    auto const one = [](std::string const& dtype, std::string const& shape, std::string const& offsets) {
        return R"({"a":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
    };
    EXPECT_EQ(refusal(one("F32", "[2]", "[0,8]"), 8), "accepted");
    EXPECT_EQ(refusal(one("F32", "[2]", "[0,8]") + "   ", 8), "accepted");
    std::vector<std::pair<std::string, std::string>> const refused = {
        {one("F32", "[2]", "[0,16]"), "where F32 of shape [2] takes 8"},
        {one("F32", "[4]", "[0,16]"), "ends at byte 16 of the values, of which there are 8"},
        {one("F32", "[1]", "[0,4]"), "4 bytes behind the last tensor"},
        {one("F32", "[1]", "[4,8]"), "behind the end of the one before"},
        {one("F32", "[1]", "[8,4]"), "not a begin and an end"},
        {one("F32", "[1]", "[-4,0]"), "not a begin and an end"},
        {one("F32", "[1]", "[0]"), "not a begin and an end"},
        {one("F32", "[1]", "[0,18446744073709551615]"), "not a begin and an end"},
        {one("F32", "[4611686018427387904,4]", "[0,8]"), "more bytes than a file can have"},
        {one("F32", "[-2]", "[0,8]"), "something else than sizes"},
        {one("F32", "[2.5]", "[0,8]"), "something else than sizes"},
        {one("F32", "2", "[0,8]"), "no array"},
        {one("F33", "[2]", "[0,8]"), "unknown dtype F33"},
        {R"({"a":{"dtype":"F32","shape":[2]}})", "has no data_offsets"},
        {R"({"a":7})", "not described by an object"},
        {"[1]", "no JSON object"},
        {"{", "no JSON object"},
        {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
         "inside, before the end of the one before"},
        {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
         "a stands twice"},
    };
    for (auto const& [header, message] : refused) {
        std::string const said = refusal(header, 8);
        EXPECT_THAT(said, HasSubstr(message)) << header;
        EXPECT_THAT(said, testing::StartsWith("65 ")) << header;
    }
    std::string huge = with_length(one("F32", "[2]", "[0,8]"), 8);
    huge[6] = 1;
    EXPECT_THAT(refusal_of([&] { SafetensorsFile(write("x.safetensors", huge)); }), HasSubstr("ask for a header of"));
    EXPECT_THAT(refusal_of([&] { SafetensorsFile(write("x.safetensors", "short")); }), HasSubstr("too few"));
    EXPECT_THAT(refusal_of([&] { SafetensorsFile(folder_ / "none.safetensors"); }), HasSubstr("66 "));
}

TEST_F(Safetensors, FoldersOfLies) {
    auto const open = [&] { return refusal_of([&] { SafetensorsFolder{folder_}; }); };
    EXPECT_THAT(open(), HasSubstr("66 "));
    write("pytorch_model.bin", "x");
    EXPECT_THAT(open(), HasSubstr("safe_serialization"));
    std::string const tensor = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
    write("one.safetensors", with_length(tensor, 8));
    auto const index = [&](std::string const& map) { write("model.safetensors.index.json", map); };
    index(R"({"weight_map":{"a":"one.safetensors"}})");
    EXPECT_EQ(open(), "accepted");
    index(R"({"weight_map":{"a":"two.safetensors"}})");
    EXPECT_THAT(open(), HasSubstr("two.safetensors is not there"));
    index(R"({"weight_map":{"a":"one.safetensors","b":"one.safetensors"}})");
    EXPECT_THAT(open(), HasSubstr("tensor b is not there"));
    index(R"({"weight_map":{"a":"../one.safetensors"}})");
    EXPECT_THAT(open(), HasSubstr("not the name of a file of this folder"));
    index(R"({"weight_map":{"a":"one.safetensors","a":"one.safetensors"}})");
    EXPECT_THAT(open(), HasSubstr("a stands twice"));
    index("{}");
    EXPECT_THAT(open(), HasSubstr("no object weight_map"));
}

// Other writers pad nothing: values may begin at any byte.
TEST_F(Safetensors, ReadsUnalignedValues) {
    std::string header = R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                         R"("a":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})";
    while (header.size() % 8 != 3) header += ' ';
    std::string bytes = with_length(header, 5);
    float const value = 1.25F;
    std::memcpy(bytes.data() + bytes.size() - 4, &value, 4);
    SafetensorsFile const file(write("x.safetensors", bytes));
    float back = 0;
    file.read(file.tensors()[1], {0, 1}, &back);
    EXPECT_EQ(back, value);
    EXPECT_THAT(refusal_of([&] {
                    file.read(file.tensors()[0], {0, 1}, &back);
                }),
                HasSubstr("tensor b is of dtype U8, which this version does not read"));
}

}  // namespace
}  // namespace selvage::io
