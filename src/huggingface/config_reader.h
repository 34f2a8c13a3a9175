// SPDX-License-Identifier: Apache-2.0
#pragma once
// Private to huggingface: one object of a config.json, every key of which must be asked for or known to be harmless.
#include <boost/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace selvage::huggingface {

namespace json = boost::json;

class ConfigReader {
  public:
    // `where` names the object in errors: "FOLDER/config.json", or that with a key behind it.
    ConfigReader(json::object const& object, std::string where) : object_(object), where_(std::move(where)) {}

    std::string const& where() const { return where_; }
    // There, and not null.
    bool has(std::string_view key) const;
    bool mentions(std::string_view key) const { return object_.contains(key); }
    // The value of a key; the fallback where it is absent or null. Errors (bad_data): another type; absent with no
    // fallback.
    std::int64_t integer(std::string_view key, std::optional<std::int64_t> fallback = std::nullopt);
    double number(std::string_view key, std::optional<double> fallback = std::nullopt);
    bool flag(std::string_view key, std::optional<bool> fallback = std::nullopt);
    // Where null says that there is none: 0 for null, `absent` where the key is not there.
    double number_or_none(std::string_view key, double absent) {
        return mentions(key) && !has(key) ? (skip(key), 0) : number(key, absent);
    }
    std::string text(std::string_view key, std::optional<std::string> fallback = std::nullopt);
    // Absent or null: nullptr.
    json::value const* value(std::string_view key);
    json::object const* object(std::string_view key);
    // Absent, null, false, zero or empty, or else an Error (bad_data): `what` is not supported.
    void refuse(std::string_view key, std::string_view what);
    // Known to change nothing.
    void skip(std::string_view key) { asked_.insert(std::string(key)); }
    [[noreturn]] void fail_key(std::string_view key, std::string const& what) const;

    // Error (bad_data) naming the first key that nobody asked for and that says anything (null, false and empty ones
    // do not).
    void finish() const;

  private:
    json::value const& needed(std::string_view key, json::value const* value) const;

    json::object const& object_;
    std::string where_;
    std::set<std::string, std::less<>> asked_;
};

}  // namespace selvage::huggingface
