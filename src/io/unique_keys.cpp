// SPDX-License-Identifier: Apache-2.0
#include "io/unique_keys.h"

#include <boost/json/basic_parser_impl.hpp>
#include <set>
#include <vector>

namespace selvage::io {
namespace {

namespace json = boost::json;
using Text = json::string_view;
using Error = boost::system::error_code;

// Told by the parser what comes; keeps the keys of the objects that are open.
struct Handler {
    static constexpr std::size_t max_object_size = static_cast<std::size_t>(-1);
    static constexpr std::size_t max_array_size = static_cast<std::size_t>(-1);
    static constexpr std::size_t max_key_size = static_cast<std::size_t>(-1);
    static constexpr std::size_t max_string_size = static_cast<std::size_t>(-1);

    bool on_document_begin(Error&) { return true; }
    bool on_document_end(Error&) { return true; }
    bool on_object_begin(Error&) {
        open.emplace_back();
        return true;
    }
    bool on_object_end(std::size_t, Error&) {
        open.pop_back();
        return true;
    }
    bool on_array_begin(Error&) { return true; }
    bool on_array_end(std::size_t, Error&) { return true; }
    bool on_key_part(Text part, std::size_t, Error&) {
        key += part;
        return true;
    }
    bool on_key(Text rest, std::size_t, Error&) {
        key += rest;
        if (!open.back().insert(key).second && !repeated) repeated = key;
        key.clear();
        return true;
    }
    bool on_string_part(Text, std::size_t, Error&) { return true; }
    bool on_string(Text, std::size_t, Error&) { return true; }
    bool on_number_part(Text, Error&) { return true; }
    bool on_int64(std::int64_t, Text, Error&) { return true; }
    bool on_uint64(std::uint64_t, Text, Error&) { return true; }
    bool on_double(double, Text, Error&) { return true; }
    bool on_bool(bool, Error&) { return true; }
    bool on_null(Error&) { return true; }
    bool on_comment_part(Text, Error&) { return true; }
    bool on_comment(Text, Error&) { return true; }

    std::vector<std::set<std::string>> open;
    std::string key;
    std::optional<std::string> repeated;
};

}  // namespace

std::optional<std::string> repeated_key(std::string_view json) {
    json::basic_parser<Handler> parser{json::parse_options()};
    Error error;
    parser.write_some(false, json.data(), json.size(), error);
    return parser.handler().repeated;
}

}  // namespace selvage::io
