// SPDX-License-Identifier: Apache-2.0
// A file of JSONL, plain or packed: its lines, and the tokens of their texts.
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "data/jsonl.h"
#include "data/text_source.h"
#include "fuzz/driver.h"
#include "support/packed_text.h"
#include "text/tokenizer.h"

namespace {

using namespace selvage;
using test::gzip;
using test::zstd;

void read_file(std::string const& path, Tokenizer const& tokenizer) {
    LineReader reader(path);
    std::string line;
    while (reader.next(line)) {
        if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
        TextPair const pair = parse_pair(line, path);
        for (std::string const& text : {pair.prompt, pair.response}) {
            fuzz::require(!text.empty(), "an empty text was accepted");
            fuzz::require(tokenizer.decode(tokenizer.encode(text)) == text, "text was lost");
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    std::string const pair = R"({"prompt": "What is 2 + 2?", "response": "4"})";
    std::string const messages =
        R"({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "\u00e9", "tool_calls": null}]})";
    fuzz::Corpus const corpus{
        {pair, pair + "\n" + messages + "\n", messages,
         R"({"response":"\u00e9\ud83d\ude00 \"quoted\" \\ \n","prompt":"p","extra":[1,-2.5e3,true,null,{"a":{}}]})",
         "{\"prompt\": \"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\", \"response\": \"x\"}", gzip(pair + "\n" + messages),
         zstd(pair + "\n" + messages), gzip(std::string(100000, '\n')), zstd(std::string(100000, ' ')),
         gzip(pair) + gzip("\n" + messages), zstd(pair) + zstd("\n" + messages)},
        {"\"prompt\"",
         "\"response\"",
         "\"messages\"",
         "\"role\"",
         "\"content\"",
         "\"assistant\"",
         "\\ud800",
         "\\u0000",
         "\\",
         "\"",
         "{",
         "}",
         "[",
         "]",
         ":",
         ",",
         "null",
         "1e999",
         "\n",
         "\xff",
         "\xed\xa0\x80",
         "\xc0\x80",
         std::string(1, '\0'),
         "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
         "\x1f\x8b",
         "\x28\xb5\x2f\xfd"},
    };
    return fuzz::run(argc, argv, "jsonl", corpus, [] {
        std::shared_ptr<Tokenizer> const tokenizer = open_tokenizer("bytes");
        std::string const path =
            (std::filesystem::temp_directory_path() / ("selvage-fuzz-" + std::to_string(getpid()))).string();
        return [tokenizer, path](std::string const& content) {
            std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
            std::shared_ptr<void> const remove(nullptr, [&](void*) { std::filesystem::remove(path); });
            read_file(path, *tokenizer);
        };
    });
}
