// SPDX-License-Identifier: Apache-2.0
#pragma once
// A deck is a TOML file of tables of keys. Deck reads it, applies overrides, fills typed options through one list of
// bind() calls, and refuses what the list does not name. The same list dumps the effective deck.
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace selvage {

// The range a number must lie in (inclusive), part of the error message.
struct Bounds {
    double low = -1e300;
    double high = 1e300;
};
constexpr Bounds at_least(double low) { return {low, 1e300}; }
constexpr Bounds between(double low, double high) { return {low, high}; }

class Deck {
  public:
    // Errors: missing_input (no such file), bad_data (TOML syntax: file and line).
    static Deck read(std::string const& path);
    // `name` stands for the file in messages; `folder` is what relative paths are relative to.
    static Deck parse(std::string const& text, std::string const& name, std::string const& folder);
    ~Deck();
    Deck(Deck&&) noexcept;
    Deck& operator=(Deck&&) noexcept;

    // "table.key=value", the value as TOML. The last one for a key wins. Error (bad_data): not of this form.
    void set(std::string const& assignment);

    // Each call names a key ("train.lanes"), gives the variable with its default, and a sentence of documentation. The
    // variable gets the deck's value. Errors (bad_data), with file and line (or the --set): wrong type, out of bounds,
    // not one of the choices (names the nearest). An integer is accepted where a number is asked; not the other way.
    void bind(std::string const& key, bool& value, std::string const& doc);
    void bind(std::string const& key, std::int64_t& value, std::string const& doc, Bounds bounds = {});
    void bind(std::string const& key, double& value, std::string const& doc, Bounds bounds = {});
    void bind(std::string const& key, std::string& value, std::string const& doc,
              std::vector<std::string> choices = {});
    // An input path, or a list of them; made absolute against the deck's folder. "" stays "". A value given by set() is
    // relative to the working directory. One string is accepted as a list of one.
    void bind_path(std::string const& key, std::string& value, std::string const& doc);
    void bind_paths(std::string const& key, std::vector<std::string>& value, std::string const& doc);
    // An enumeration by names; bind_choices takes a list, or one name as a list of one.
    template <class Enum>
    void bind_choice(std::string const& key, Enum& value, std::vector<std::pair<std::string, Enum>> const& names,
                     std::string const& doc) {
        std::size_t const index = bind_index(key, position_of(value, names), names_of(names), doc);
        value = names[index].second;
    }
    template <class Enum>
    void bind_choices(std::string const& key, std::vector<Enum>& value,
                      std::vector<std::pair<std::string, Enum>> const& names, std::string const& doc) {
        std::vector<std::size_t> defaults;
        for (Enum const& item : value) defaults.push_back(position_of(item, names));
        value.clear();
        for (std::size_t index : bind_indices(key, defaults, names_of(names), doc))
            value.push_back(names[index].second);
    }

    bool has(std::string const& key) const;
    // "file:line" of a key, or "--set key=value"; for messages of checks that span keys.
    std::string where(std::string const& key) const;
    // After all bind() calls: an unknown table or key is an error (bad_data) with file, line and the nearest known
    // name.
    void finish() const;
    // All bound keys with their values as TOML, in the order of the bind() calls, one [table] each; with documentation
    // as comments if asked. Reading it back gives the same options.
    std::string effective(bool with_documentation) const;

  private:
    Deck();
    template <class Enum>
    static std::size_t position_of(Enum value, std::vector<std::pair<std::string, Enum>> const& names) {
        for (std::size_t i = 0; i < names.size(); ++i)
            if (names[i].second == value) return i;
        return 0;
    }
    template <class Enum>
    static std::vector<std::string> names_of(std::vector<std::pair<std::string, Enum>> const& names) {
        std::vector<std::string> out;
        for (auto const& [name, value] : names) out.push_back(name);
        return out;
    }
    std::size_t bind_index(std::string const& key, std::size_t fallback, std::vector<std::string> const& names,
                           std::string const& doc);
    std::vector<std::size_t> bind_indices(std::string const& key, std::vector<std::size_t> const& fallback,
                                          std::vector<std::string> const& names, std::string const& doc);
    struct State;
    std::unique_ptr<State> state_;
};

// Every key of an effective deck with its value, as TOML.
std::map<std::string, std::string> keys_of(std::string const& effective);
// The keys in which two effective decks differ.
std::vector<std::string> differing_keys(std::string const& effective_a, std::string const& effective_b);

}  // namespace selvage
