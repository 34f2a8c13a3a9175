// SPDX-License-Identifier: Apache-2.0
// One line of JSONL, and the tokens of its texts.
#include "data/prepare.h"
#include "fuzz/driver.h"

int main(int argc, char** argv) {
    selvage::fuzz::Corpus const corpus{
        {R"({"prompt": "What is 2 + 2?", "response": "4"})",
         R"({"response":"\u00e9\ud83d\ude00 \"quoted\" \\ \n","prompt":"p","extra":[1,-2.5e3,true,null,{"a":{}}]})",
         "{\"prompt\": \"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\", \"response\": \"x\"}"},
        {"\"prompt\"", "\"response\"", "\\ud800", "\\u0000", "\\", "\"", "{", "}", "[", "]", ":", ",", "null", "1e999",
         "\xff", "\xed\xa0\x80", "\xc0\x80", std::string(1, '\0'), "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["},
    };
    return selvage::fuzz::run(argc, argv, "jsonl", corpus, [] {
        std::shared_ptr<selvage::Tokenizer> const tokenizer = selvage::open_tokenizer("bytes");
        return [tokenizer](std::string const& line) {
            selvage::TextPair const pair = selvage::parse_pair(line, "a.jsonl:1");
            for (std::string const& text : {pair.prompt, pair.response}) {
                selvage::fuzz::require(!text.empty(), "an empty text was accepted");
                selvage::fuzz::require(tokenizer->decode(tokenizer->encode(text)) == text, "text was lost");
            }
        };
    });
}
