// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <string_view>

#include "io/files.h"
#include "text/tokenizer.h"

namespace selvage {

struct TextPair {
    std::string prompt;
    std::string response;
};
// One line of JSONL. Errors (bad_data): not an object, a key missing or not a string, not UTF-8; `where` ("file:line")
// opens the message.
TextPair parse_pair(std::string_view line, std::string_view where);

// JSONL to tokens; the answer gets end-of-answer behind it. Empty lines are skipped and counted.
io::DataFile prepare_data(std::string const& jsonl_path, Tokenizer const& tokenizer);

}  // namespace selvage
