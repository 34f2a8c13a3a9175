// SPDX-License-Identifier: Apache-2.0
#include "data/jsonl.h"

#include <fmt/core.h>

#include <boost/json.hpp>
#include <utility>

#include "base/error.h"

namespace selvage {
namespace {

namespace json = boost::json;

constexpr char const* form =
    "a line is {\"prompt\": \"...\", \"response\": \"...\"} or {\"messages\": [{\"role\": \"user\", \"content\": "
    "\"...\"}, ...]}";

std::string text_of(json::object const& object, std::string_view key, std::string const& within) {
    json::value const* const value = object.if_contains(key);
    if (value == nullptr) throw BadLine{fmt::format("no key \"{}\"{}", key, within), form};
    if (!value->is_string())
        throw BadLine{fmt::format("\"{}\"{} is not a string", key, within), "put its text in quotes"};
    json::string const& text = value->get_string();
    if (text.empty())
        throw BadLine{fmt::format("\"{}\"{} is empty", key, within), "leave the line out, or give it some text"};
    return std::string(text.data(), text.size());
}

std::string title_of(std::string const& role) {
    for (auto const& [name, title] : {std::pair{"system", "System"},
                                      {"developer", "System"},
                                      {"user", "User"},
                                      {"assistant", "Assistant"},
                                      {"tool", "Tool"}})
        if (role == name) return title;
    throw BadLine{"a message has an unknown role", "use system, user, assistant or tool"};
}

void refuse_key(json::object const& object, char const* key) {
    json::value const* const value = object.if_contains(key);
    if (value != nullptr && !value->is_null())
        throw BadLine{fmt::format("the plain layout of turns has no place for \"{}\"", key),
                      "use a tokenizer with a chat template (inputs/huggingface/prepare.py), or take the key out"};
}

TextPair pair_of_messages(json::value const& value) {
    if (!value.is_array() || value.get_array().empty()) throw BadLine{"\"messages\" is not a list of messages", form};
    json::array const& messages = value.get_array();
    TextPair pair;
    for (std::size_t i = 0; i < messages.size(); ++i) {
        if (!messages[i].is_object()) throw BadLine{"a message is not an object", form};
        json::object const& message = messages[i].get_object();
        for (char const* const key : {"tool_calls", "function_call"}) refuse_key(message, key);
        std::string const title = title_of(text_of(message, "role", " of a message"));
        std::string content = text_of(message, "content", " of a message");
        if (i + 1 == messages.size()) {
            if (title != "Assistant")
                throw BadLine{"the last message is not the assistant's", "end the conversation with the answer"};
            pair.prompt += "Assistant:\n";
            pair.response = std::move(content);
        } else {
            pair.prompt += title + ":\n" + content + "\n\n";
        }
    }
    if (messages.size() == 1) throw BadLine{"the answer has no message before it", "put a question in front"};
    return pair;
}

}  // namespace

TextPair parse_line(std::string_view line) {
    boost::system::error_code error;
    json::value const value = json::parse(json::string_view(line.data(), line.size()), error);
    // The parser also checks UTF-8, and that escaped surrogates come in pairs.
    if (error)
        throw BadLine{fmt::format("not a JSON object in UTF-8 ({})", error.message()), "write one object per line"};
    if (!value.is_object()) throw BadLine{"not an object", form};
    json::object const& object = value.get_object();
    json::value const* const messages = object.if_contains("messages");
    if (messages == nullptr) return {text_of(object, "prompt", ""), text_of(object, "response", "")};
    if (object.contains("prompt") || object.contains("response"))
        throw BadLine{"both \"messages\" and \"prompt\" or \"response\"", "keep one of the two forms"};
    for (char const* const key : {"tools", "functions", "documents"}) refuse_key(object, key);
    return pair_of_messages(*messages);
}

TextPair parse_pair(std::string_view line, std::string_view where) {
    try {
        return parse_line(line);
    } catch (BadLine const& bad) {
        fail(ExitCode::bad_data, "{}: {}; {}", where, bad.what, bad.hint);
    }
}

}  // namespace selvage
