// SPDX-License-Identifier: Apache-2.0
#include "huggingface/tokenizer.h"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"

namespace selvage::huggingface {
namespace {

namespace json = boost::json;

constexpr char const* kind = "huggingface";

json::object parse_file(Files const& files, std::string const& name, std::string const& where) {
    auto const found = files.find(name);
    if (found == files.end()) return {};
    boost::system::error_code error;
    json::value value = json::parse(found->second, error);
    if (error || !value.is_object()) fail(ExitCode::bad_data, "{}/{} is no JSON object; fetch it again", where, name);
    return std::move(value.get_object());
}

std::string text_of(json::value const* value) {
    if (value != nullptr && value->is_object()) value = value->get_object().if_contains("content");
    return value != nullptr && value->is_string() ? json::value_to<std::string>(*value) : "";
}

void append_utf8(std::string& text, std::uint32_t code) {
    if (code < 0x80) {
        text += static_cast<char>(code);
    } else {
        text += static_cast<char>(0xc0 | code >> 6);
        text += static_cast<char>(0x80 | (code & 0x3f));
    }
}

// Byte-level BPE (GPT-2) writes every byte as one printable character: itself where it is one, else from U+0100 on.
std::map<std::string, char> const& byte_of_character() {
    static auto const table = [] {
        std::map<std::string, char> out;
        std::uint32_t next = 256;
        for (std::uint32_t byte = 0; byte < 256; ++byte) {
            bool const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xff && byte != 0xad);
            std::string character;
            append_utf8(character, printable ? byte : next++);
            out[character] = static_cast<char>(byte);
        }
        return out;
    }();
    return table;
}

// How pieces become bytes. What a decoder does to a text as a whole (Fuse, Strip) is not part of it.
class Decoding {
  public:
    Decoding(json::value const* decoder, std::string const& where) : where_(where) {
        if (decoder == nullptr || !decoder->is_object())
            fail(ExitCode::bad_data, "{} has no decoder: what text its ids stand for is not known", where_);
        add(decoder->get_object());
    }

    std::string bytes(std::string piece) const {
        if (byte_level_) return from_byte_level(piece);
        if (byte_fallback_ && piece.size() == 6 && piece.starts_with("<0x") && piece.ends_with('>')) {
            unsigned byte = 0;
            auto const [end, error] = std::from_chars(piece.data() + 3, piece.data() + 5, byte, 16);
            if (error == std::errc{} && end == piece.data() + 5) return std::string(1, static_cast<char>(byte));
        }
        for (auto const& [old, replacement] : replacements_)
            for (std::size_t at = piece.find(old); !old.empty() && at != std::string::npos;
                 at = piece.find(old, at + replacement.size()))
                piece.replace(at, old.size(), replacement);
        return piece;
    }

  private:
    void add(json::object const& step) {
        std::string const type = text_of(step.if_contains("type"));
        json::value const* const steps = step.if_contains("decoders");
        if (type == "Sequence" && steps != nullptr && steps->is_array()) {
            for (json::value const& inner : steps->get_array())
                if (inner.is_object()) add(inner.get_object());
        } else if (type == "ByteLevel") {
            byte_level_ = true;
        } else if (type == "ByteFallback") {
            byte_fallback_ = true;
        } else if (json::value const* const pattern = step.if_contains("pattern");
                   type == "Replace" && pattern != nullptr && pattern->is_object()) {
            replacements_.emplace_back(text_of(pattern->get_object().if_contains("String")),
                                       text_of(step.if_contains("content")));
        } else if (type == "Metaspace") {
            replacements_.emplace_back(text_of(step.if_contains("replacement")), " ");
        } else if (type != "Fuse" && type != "Strip") {
            fail(
                ExitCode::bad_data,
                "{}: its decoder {} is not supported (ByteLevel, ByteFallback, Replace, Metaspace, Fuse and Strip are)",
                where_, type);
        }
    }

    // A piece with other characters, as added tokens may be, stands for itself.
    static std::string from_byte_level(std::string const& piece) {
        std::string bytes;
        for (std::size_t at = 0; at < piece.size();) {
            std::size_t const length = (static_cast<unsigned char>(piece[at]) & 0x80) == 0 ? 1 : 2;
            auto const found = byte_of_character().find(piece.substr(at, length));
            if (found == byte_of_character().end()) return piece;
            bytes += found->second;
            at += length;
        }
        return bytes;
    }

    std::string where_;
    bool byte_level_ = false;
    bool byte_fallback_ = false;
    std::vector<std::pair<std::string, std::string>> replacements_;
};

struct Entry {
    std::string piece;
    bool is_special = false;
};

// By id. `vocab` is an object (BPE) or a list of pairs (Unigram); added tokens come beside it, or repeat it.
std::map<std::int64_t, Entry> entries_of(json::object const& tokenizer, std::string const& where) {
    auto const damaged = [&](char const* what) { fail(ExitCode::bad_data, "{}: {}; fetch it again", where, what); };
    std::map<std::int64_t, Entry> entries;
    json::value const* const model = tokenizer.if_contains("model");
    json::value const* const vocab =
        model != nullptr && model->is_object() ? model->get_object().if_contains("vocab") : nullptr;
    auto const id_of = [&](json::value const& value) {
        if (!value.is_int64() || value.get_int64() < 0 || value.get_int64() >= (1 << 24)) damaged("an id is no id");
        return value.get_int64();
    };
    if (vocab != nullptr && vocab->is_object()) {
        for (auto const& entry : vocab->get_object())
            entries[id_of(entry.value())] = {std::string(entry.key().data(), entry.key().size())};
    } else if (vocab != nullptr && vocab->is_array()) {
        std::int64_t id = 0;
        for (json::value const& pair : vocab->get_array()) {
            if (!pair.is_array() || pair.get_array().empty()) damaged("its vocabulary is no list of pairs");
            entries[id++] = {text_of(&pair.get_array()[0])};
        }
    } else {
        damaged("it has no vocabulary");
    }
    json::value const* const added = tokenizer.if_contains("added_tokens");
    if (added != nullptr && added->is_array())
        for (json::value const& token : added->get_array()) {
            if (!token.is_object() || !token.get_object().contains("id")) damaged("an added token has no id");
            json::object const& object = token.get_object();
            json::value const* const special = object.if_contains("special");
            entries[id_of(object.at("id"))] = {text_of(&token),
                                               special != nullptr && special->is_bool() && special->get_bool()};
        }
    return entries;
}

// The id of a special token that tokenizer_config.json or special_tokens_map.json names by its text.
Token named_token(Files const& files, std::string const& where, std::map<std::string, std::int64_t> const& ids,
                  char const* name, Token otherwise) {
    for (char const* const file : {"tokenizer_config.json", "special_tokens_map.json"}) {
        json::object const object = parse_file(files, file, where);
        auto const found = ids.find(text_of(object.if_contains(name)));
        if (found != ids.end()) return static_cast<Token>(found->second);
    }
    return otherwise;
}

TokenizerTable table_of(Files const& files, std::string const& where, SpecialTokens const& special) {
    std::string const name = where + "/tokenizer.json";
    json::object const tokenizer = parse_file(files, "tokenizer.json", where);
    auto const entries = entries_of(tokenizer, name);
    if (entries.empty()) fail(ExitCode::bad_data, "{}: its vocabulary is empty; fetch it again", name);
    Decoding const decoding(tokenizer.if_contains("decoder"), name);
    TokenizerTable table;
    table.kind = kind;
    table.pieces.resize(static_cast<std::size_t>(entries.rbegin()->first) + 1);
    std::map<std::string, std::int64_t> ids;
    for (auto const& [id, entry] : entries) {
        ids[entry.piece] = id;
        if (!entry.is_special) table.pieces[static_cast<std::size_t>(id)] = decoding.bytes(entry.piece);
    }
    table.special.end_of_answer = named_token(files, where, ids, "eos_token", special.end_of_answer);
    table.special.begin = named_token(files, where, ids, "bos_token", special.begin);
    table.special.padding = named_token(files, where, ids, "pad_token", special.padding);
    return table;
}

}  // namespace

TokenizerTable read_tokenizer(Files const& files, std::string const& where, SpecialTokens special,
                              std::int64_t vocabulary, Token end_of_answer) {
    TokenizerTable table;
    bool const has_json = files.contains("tokenizer.json");
    if (has_json) table = table_of(files, where, special);
    if (auto const model = files.find("tokenizer.model"); model != files.end()) {
        TokenizerTable own;
        try {
            own = open_sentencepiece(model->second, where + "/tokenizer.model")->table();
        } catch (Error const&) {
            if (!has_json) throw;  // of another library
        }
        // Added tokens, and another end of an answer, are in the other files alone.
        Token const end = end_of_answer >= 0 ? end_of_answer : table.special.end_of_answer;
        if (!own.pieces.empty() && own.pieces.size() >= table.pieces.size() &&
            (end < 0 || end == own.special.end_of_answer))
            table = std::move(own);
    }
    if (table.pieces.empty()) {
        table.kind = "ids";
        table.pieces.resize(static_cast<std::size_t>(vocabulary));
        table.special = special;
    }
    if (end_of_answer >= 0) table.special.end_of_answer = end_of_answer;
    auto const size = static_cast<std::int64_t>(table.pieces.size());
    if (size > vocabulary)
        fail(ExitCode::bad_data,
             "{}: its tokenizer has {} ids, config.json a vocab_size of {}; take both from the same place", where, size,
             vocabulary);
    auto const inside = [&](char const* what, Token id) {
        if (id >= size)
            fail(ExitCode::bad_data, "{}: the {} id is {}, but its tokenizer has {} ids; correct config.json", where,
                 what, id, size);
    };
    inside("end-of-answer", table.special.end_of_answer);
    inside("begin", table.special.begin);
    inside("padding", table.special.padding);
    if (table.special.end_of_answer < 0)
        fail(ExitCode::bad_data,
             "{} names no token that ends an answer (eos_token in tokenizer_config.json, eos_token_id in config.json); "
             "give its id with selvage import --end-of-answer ID",
             where);
    return table;
}

}  // namespace selvage::huggingface
