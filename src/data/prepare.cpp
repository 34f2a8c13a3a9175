// SPDX-License-Identifier: Apache-2.0
#include "data/prepare.h"

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <limits>
#include <utility>

#include "base/digest.h"
#include "base/error.h"

namespace selvage {
namespace {

std::string text_of(boost::json::object const& object, std::string_view key, std::string_view where) {
    boost::json::value const* const value = object.if_contains(key);
    if (value == nullptr)
        fail(ExitCode::bad_data, "{}: no key \"{}\"; a line is {{\"prompt\": \"...\", \"response\": \"...\"}}", where,
             key);
    if (!value->is_string()) fail(ExitCode::bad_data, "{}: \"{}\" is not a string; put its text in quotes", where, key);
    boost::json::string const& text = value->get_string();
    if (text.empty())
        fail(ExitCode::bad_data, "{}: \"{}\" is empty; leave the line out, or give it some text", where, key);
    return std::string(text.data(), text.size());
}

// Collects the pairs of a file as tokens.
class Preparer {
  public:
    Preparer(Tokenizer const& tokenizer, std::string path) : tokenizer_(tokenizer), path_(std::move(path)) {
        file_.offsets.push_back(0);
    }

    void add_line(std::string_view line) {
        ++line_number_;
        if (line_number_ == 1 && line.starts_with("\xef\xbb\xbf")) line.remove_prefix(3);  // byte-order mark
        if (line.find_first_not_of(" \t\r") == std::string_view::npos) {
            ++empty_lines_;
            return;
        }
        std::string const where = fmt::format("{}:{}", path_, line_number_);
        TextPair const pair = parse_pair(line, where);
        auto const prompt = tokenizer_.encode(pair.prompt);
        if (prompt.empty())
            fail(ExitCode::bad_data,
                 "{}: the prompt has no token left (the tokenizer drops all of it); leave the line out", where);
        auto const answer = tokenizer_.encode(pair.response);
        if (prompt.size() + answer.size() >= static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()))
            fail(ExitCode::bad_data, "{}: a pair of {} tokens; split it", where, prompt.size() + answer.size());
        auto& tokens = file_.tokens;
        tokens.insert(tokens.end(), prompt.begin(), prompt.end());
        tokens.insert(tokens.end(), answer.begin(), answer.end());
        tokens.push_back(tokenizer_.special().end_of_answer);
        file_.prompt_length.push_back(static_cast<std::int32_t>(prompt.size()));
        file_.offsets.push_back(static_cast<std::int64_t>(tokens.size()));
    }

    io::DataFile finish(Digest const& source) {
        if (file_.pairs() == 0)
            fail(ExitCode::bad_data,
                 "{}: no text pair in it ({} lines, all empty); a line is "
                 "{{\"prompt\": \"...\", \"response\": \"...\"}}",
                 path_, line_number_);
        file_.tokenizer = tokenizer_.table();
        file_.attributes.text["source"] = std::filesystem::path(path_).filename().string();
        file_.attributes.text["source_digest"] = source.hex();
        file_.attributes.integers["source_lines"] = line_number_;
        file_.attributes.integers["empty_lines"] = empty_lines_;
        return std::move(file_);
    }

  private:
    Tokenizer const& tokenizer_;
    std::string path_;
    io::DataFile file_;
    std::int64_t line_number_ = 0;
    std::int64_t empty_lines_ = 0;
};

}  // namespace

TextPair parse_pair(std::string_view line, std::string_view where) {
    boost::system::error_code error;
    boost::json::value const value = boost::json::parse(boost::json::string_view(line.data(), line.size()), error);
    // The parser also checks UTF-8, and that escaped surrogates come in pairs.
    if (error)
        fail(ExitCode::bad_data, "{}: not a JSON object in UTF-8 ({}); write one object per line", where,
             error.message());
    if (!value.is_object())
        fail(ExitCode::bad_data, "{}: not an object; a line is {{\"prompt\": \"...\", \"response\": \"...\"}}", where);
    boost::json::object const& object = value.get_object();
    return {text_of(object, "prompt", where), text_of(object, "response", where)};
}

io::DataFile prepare_data(std::string const& jsonl_path, Tokenizer const& tokenizer) {
    if (!std::filesystem::exists(jsonl_path))
        fail(ExitCode::missing_input, "{}: no such file; check --input", jsonl_path);
    if (std::filesystem::is_directory(jsonl_path))
        fail(ExitCode::bad_data, "{}: a folder, not a JSONL file; give the file in it", jsonl_path);
    std::ifstream file(jsonl_path, std::ios::binary);
    if (!file) fail(ExitCode::io, "{}: cannot be opened; check its permissions", jsonl_path);
    Preparer preparer(tokenizer, jsonl_path);
    DigestStream source;
    std::string line;
    while (std::getline(file, line)) {
        source.update(line.data(), line.size());
        if (!file.eof()) source.update("\n", 1);
        preparer.add_line(line);
    }
    if (file.bad()) fail(ExitCode::io, "{}: cannot be read to its end; check the disk", jsonl_path);
    return preparer.finish(source.finish());
}

}  // namespace selvage
