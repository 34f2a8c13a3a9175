// SPDX-License-Identifier: Apache-2.0
#include "huggingface/config_reader.h"

#include <cmath>

#include "base/error.h"

namespace selvage::huggingface {
namespace {

bool says_nothing(json::value const& value) {
    switch (value.kind()) {
        case json::kind::null:
            return true;
        case json::kind::bool_:
            return !value.get_bool();
        case json::kind::int64:
            return value.get_int64() == 0;
        case json::kind::uint64:
            return false;
        case json::kind::double_:
            return value.get_double() == 0;
        case json::kind::string:
            return value.get_string().empty();
        case json::kind::array:
            return value.get_array().empty();
        case json::kind::object:
            return value.get_object().empty();
    }
    return false;
}

}  // namespace

void ConfigReader::fail_key(std::string_view key, std::string const& what) const {
    fail(ExitCode::bad_data, "{}: {} {}", where_, key, what);
}

bool ConfigReader::has(std::string_view key) const {
    json::value const* const found = object_.if_contains(key);
    return found != nullptr && !found->is_null();
}

json::value const* ConfigReader::value(std::string_view key) {
    skip(key);
    return has(key) ? object_.if_contains(key) : nullptr;
}

json::value const& ConfigReader::needed(std::string_view key, json::value const* value) const {
    if (value == nullptr) fail_key(key, "is missing; take config.json from where the model came from");
    return *value;
}

std::int64_t ConfigReader::integer(std::string_view key, std::optional<std::int64_t> fallback) {
    json::value const* const found = value(key);
    if (found == nullptr && fallback) return *fallback;
    json::value const& given = needed(key, found);
    if (given.is_int64()) return given.get_int64();
    // Written as 256.0 here and there.
    if (given.is_double() && given.get_double() == std::trunc(given.get_double()) &&
        std::fabs(given.get_double()) < 1e15)
        return static_cast<std::int64_t>(given.get_double());
    fail_key(key, "is " + json::serialize(given) + " (must be a whole number); correct it");
}

double ConfigReader::number(std::string_view key, std::optional<double> fallback) {
    json::value const* const found = value(key);
    if (found == nullptr && fallback) return *fallback;
    json::value const& given = needed(key, found);
    if (given.is_double()) return given.get_double();
    if (given.is_int64()) return static_cast<double>(given.get_int64());
    fail_key(key, "is " + json::serialize(given) + " (must be a number); correct it");
}

bool ConfigReader::flag(std::string_view key, std::optional<bool> fallback) {
    json::value const* const found = value(key);
    if (found == nullptr && fallback) return *fallback;
    json::value const& given = needed(key, found);
    if (!given.is_bool()) fail_key(key, "is " + json::serialize(given) + " (must be true or false); correct it");
    return given.get_bool();
}

std::string ConfigReader::text(std::string_view key, std::optional<std::string> fallback) {
    json::value const* const found = value(key);
    if (found == nullptr && fallback) return *fallback;
    json::value const& given = needed(key, found);
    if (!given.is_string()) fail_key(key, "is " + json::serialize(given) + " (must be a text); correct it");
    return json::value_to<std::string>(given);
}

json::object const* ConfigReader::object(std::string_view key) {
    json::value const* const found = value(key);
    if (found == nullptr) return nullptr;
    if (!found->is_object()) fail_key(key, "is " + json::serialize(*found) + " (must be an object); correct it");
    return &found->get_object();
}

void ConfigReader::refuse(std::string_view key, std::string_view what) {
    json::value const* const found = value(key);
    if (found != nullptr && !says_nothing(*found))
        fail_key(key, fmt::format("is {}: {} is not supported by this version; use another model",
                                  json::serialize(*found), what));
}

void ConfigReader::finish() const {
    for (auto const& entry : object_) {
        std::string_view const key(entry.key().data(), entry.key().size());
        if (!asked_.contains(key) && !says_nothing(entry.value()))
            fail_key(key, fmt::format("is {}, a key that this version does not know and that may change what the model "
                                      "computes; if it does not, name it with selvage import --ignore {}",
                                      json::serialize(entry.value()), key));
    }
}

}  // namespace selvage::huggingface
