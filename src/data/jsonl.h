// SPDX-License-Identifier: Apache-2.0
#pragma once
// One line of JSONL, and the layout of a conversation as plain text.
#include <string>
#include <string_view>

namespace selvage {

struct TextPair {
    std::string prompt;
    std::string response;
};

// Why a line is no pair. `what` holds nothing of the line but names of keys and roles, so that lines can be counted by
// it.
struct BadLine {
    std::string what;
    std::string hint;
};

// A line is {"prompt": "...", "response": "..."} or {"messages": [{"role": "...", "content": "..."}, ...]}, where the
// last message is the assistant's and is the response. The prompt then has for each message before it a line with the
// role (System, User, Assistant, Tool) and a colon, the content, and an empty line; and last the line "Assistant:".
// Other keys are ignored, but for those that change what a conversation says ("tools", "tool_calls"...).
// Throws BadLine: not an object in UTF-8, a key missing or not a string, an empty text, both forms at once.
TextPair parse_line(std::string_view line);

// The same with Error(bad_data); `where` ("file:line") opens the message.
TextPair parse_pair(std::string_view line, std::string_view where);

}  // namespace selvage
