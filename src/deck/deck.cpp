// SPDX-License-Identifier: Apache-2.0
#include "deck/deck.h"

#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <system_error>

#include "base/error.h"
#include "base/names.h"
#include "deck/render.h"

namespace selvage {
namespace {

// A deck is written by hand; anything larger was meant for another command.
constexpr std::uintmax_t largest_file = 1U << 20;

std::string kind_of(toml::node const& node) {
    switch (node.type()) {
        case toml::node_type::table:
            return "a table";
        case toml::node_type::array:
            return "a list";
        case toml::node_type::string:
            return "a string";
        case toml::node_type::integer:
            return "an integer";
        case toml::node_type::floating_point:
            return "a number with a fraction";
        case toml::node_type::boolean:
            return "true or false";
        default:
            return "a date or time";
    }
}

std::string render_node(toml::node const& node) {
    if (auto const* value = node.as_boolean()) return toml_text::render(value->get());
    if (auto const* value = node.as_integer()) return toml_text::render(value->get());
    if (auto const* value = node.as_floating_point()) return toml_text::render(value->get());
    if (auto const* value = node.as_string()) return toml_text::render(value->get());
    if (auto const* list = node.as_array()) {
        std::string text;
        for (toml::node const& item : *list) text += fmt::format("{}{}", text.empty() ? "" : ", ", render_node(item));
        return "[" + text + "]";
    }
    return kind_of(node);
}

toml::table parse_toml(std::string const& text, std::string const& name) {
    try {
        return toml::parse(text);
    } catch (toml::parse_error const& error) {
        fail(ExitCode::bad_data, "{}:{}: {}; this is not TOML", name, error.source().begin.line, error.description());
    }
}

std::vector<std::string> split(std::string const& key) {
    std::vector<std::string> parts(1);
    for (char const c : key) {
        if (c == '.')
            parts.emplace_back();
        else
            parts.back() += c;
    }
    return parts;
}

bool is_bare(std::string_view name) {
    return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    });
}

// "table.key"; a name that TOML must quote is quoted, so that "a.b" in quotes is never taken for a key b of table a.
std::string join(std::string const& table, std::string_view name) {
    std::string const last = is_bare(name) ? std::string(name) : toml_text::render(std::string(name));
    return table.empty() ? last : table + "." + last;
}

std::string parent(std::string const& key) {
    std::size_t const dot = key.rfind('.');
    return dot == std::string::npos ? "" : key.substr(0, dot);
}

std::string last_part(std::string const& key) { return key.substr(key.rfind('.') + 1); }

toml::node const* look_up(toml::table const& root, std::string const& key) {
    toml::node const* node = &root;
    for (std::string const& part : split(key)) {
        toml::table const* const table = node->as_table();
        if (table == nullptr) return nullptr;
        node = table->get(part);
        if (node == nullptr) return nullptr;
    }
    return node;
}

std::string describe(Bounds bounds) {
    bool const has_low = bounds.low > -1e300;
    bool const has_high = bounds.high < 1e300;
    if (has_low && has_high) return fmt::format("between {} and {}", bounds.low, bounds.high);
    if (has_low) return fmt::format("at least {}", bounds.low);
    if (has_high) return fmt::format("at most {}", bounds.high);
    return "";
}

std::string quoted_list(std::vector<std::string> const& names) {
    std::string text;
    for (std::string const& name : names)
        text += fmt::format("{}{}", text.empty() ? "" : ", ", toml_text::render(name));
    return text;
}

std::string did_you_mean(std::string const& name, std::vector<std::string> const& candidates) {
    std::string const nearest = nearest_name(name, candidates);
    return nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest);
}

struct Override {
    std::string key;
    std::string assignment;  // as given
    toml::table holder;      // {value = ...}
    toml::node const& value() const { return *holder.get("value"); }
};

struct Bound {
    std::string key;
    std::string value;  // TOML
    std::string doc;
    std::string allowed;  // range or choices, for the documentation
};

// A name in the file that no bind() call named.
struct Stranger {
    std::uint32_t line = 0;
    std::string key;
    bool is_table = false;
    bool should_be_table = false;
};

}  // namespace

struct Deck::State {
    std::string name;
    std::string folder;
    toml::table root;
    std::vector<Override> overrides;
    std::vector<Bound> bound;

    Override const* override_of(std::string const& key) const {
        for (Override const& item : overrides)
            if (item.key == key) return &item;
        return nullptr;
    }

    toml::node const* find(std::string const& key) const {
        if (Override const* const item = override_of(key)) return &item->value();
        return look_up(root, key);
    }

    std::string where(std::string const& key) const {
        if (Override const* const item = override_of(key)) return "--set " + item->assignment;
        toml::node const* const node = look_up(root, key);
        return node == nullptr ? name : fmt::format("{}:{}", name, node->source().begin.line);
    }

    [[noreturn]] void wrong_type(std::string const& key, toml::node const& node, std::string const& wanted) const {
        fail(ExitCode::bad_data, "{}: {} is {}; give {}", where(key), key, kind_of(node), wanted);
    }

    void remember(std::string const& key, std::string value, std::string const& doc, std::string allowed) {
        for (Bound const& item : bound) SELVAGE_CHECK(item.key != key, "deck key {} is bound twice", key);
        bound.push_back({key, std::move(value), doc, std::move(allowed)});
    }

    void check_bounds(std::string const& key, double value, std::string const& shown, Bounds bounds) const {
        if (value >= bounds.low && value <= bounds.high) return;
        fail(ExitCode::bad_data, "{}: {} = {} is out of range; it must be {}", where(key), key, shown,
             describe(bounds));
    }

    std::size_t choice(std::string const& key, std::string const& value, std::vector<std::string> const& names) const {
        auto const found = std::find(names.begin(), names.end(), value);
        if (found != names.end()) return static_cast<std::size_t>(found - names.begin());
        std::string const nearest = nearest_name(value, names);
        fail(ExitCode::bad_data, "{}: {} = {} is not one of {}{}", where(key), key, toml_text::render(value),
             quoted_list(names), nearest.empty() ? "" : fmt::format("; did you mean {}?", toml_text::render(nearest)));
    }

    // A list of strings, or one string as a list of one; nullopt where the key is not set.
    std::optional<std::vector<std::string>> strings(std::string const& key) const {
        toml::node const* const node = find(key);
        if (node == nullptr) return std::nullopt;
        if (auto const* const one = node->as_string()) return std::vector<std::string>{one->get()};
        toml::array const* const list = node->as_array();
        if (list == nullptr) wrong_type(key, *node, "a string, or a list of strings");
        std::vector<std::string> out;
        for (toml::node const& item : *list) {
            auto const* const text = item.as_string();
            if (text == nullptr)
                fail(ExitCode::bad_data, "{}: {} holds {}; give a list of strings", where(key), key, kind_of(item));
            out.push_back(text->get());
        }
        return out;
    }

    std::string absolute(std::string const& key, std::string const& path) const {
        if (path.empty()) return path;
        std::filesystem::path const base = override_of(key) != nullptr ? "" : folder;
        return std::filesystem::absolute(base / path).lexically_normal().string();
    }

    // Tables that hold bound keys, with the tables around them.
    std::vector<std::string> tables() const {
        std::vector<std::string> out;
        for (Bound const& item : bound)
            for (std::string table = parent(item.key); !table.empty(); table = parent(table))
                if (std::find(out.begin(), out.end(), table) == out.end()) out.push_back(table);
        return out;
    }

    std::vector<std::string> keys() const {
        std::vector<std::string> out;
        for (Bound const& item : bound) out.push_back(item.key);
        return out;
    }

    void collect_strangers(toml::table const& table, std::string const& path, std::set<std::string> const& known_keys,
                           std::set<std::string> const& known_tables, std::vector<Stranger>& out) const {
        for (auto const& [key, node] : table) {
            std::string const full = join(path, key.str());
            if (known_keys.count(full) != 0) continue;
            bool const known_table = known_tables.count(full) != 0;
            if (known_table && node.is_table())
                collect_strangers(*node.as_table(), full, known_keys, known_tables, out);
            else
                out.push_back({node.source().begin.line, full, node.is_table(), known_table});
        }
    }

    // What to write instead of an unknown key: the nearest, or the key of that name in another table.
    std::string suggestion(std::string const& key) const {
        std::vector<std::string> const known = keys();
        std::string const near = did_you_mean(key, known);
        if (!near.empty()) return near;
        for (std::string const& item : known)
            if (last_part(item) == last_part(key)) return fmt::format("; did you mean {}?", item);
        std::vector<std::string> last_parts;
        for (std::string const& item : known) last_parts.push_back(last_part(item));
        std::string const nearest = nearest_name(last_part(key), last_parts);
        for (std::string const& item : known)
            if (!nearest.empty() && last_part(item) == nearest) return fmt::format("; did you mean {}?", item);
        return "; `selvage check --effective` lists the keys";
    }
};

Deck::Deck() : state_(std::make_unique<State>()) {}
Deck::~Deck() = default;
Deck::Deck(Deck&&) noexcept = default;
Deck& Deck::operator=(Deck&&) noexcept = default;

Deck Deck::read(std::string const& path) {
    namespace fs = std::filesystem;
    std::error_code error;
    fs::file_status const status = fs::status(path, error);
    if (!fs::exists(status)) fail(ExitCode::missing_input, "no deck {}; give the path of a TOML file", path);
    if (!fs::is_regular_file(status)) fail(ExitCode::bad_data, "{} is not a file; give the path of a TOML file", path);
    if (fs::file_size(path, error) > largest_file)
        fail(ExitCode::bad_data, "{} is larger than 1 MiB; a deck is a short TOML file", path);
    std::ifstream file(path, std::ios::binary);
    std::string const text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    if (!file) fail(ExitCode::io, "cannot read {}; look at its permissions", path);
    if (text.starts_with("\x89HDF")) fail(ExitCode::bad_data, "{} is an HDF5 file; a deck is a TOML file", path);
    return parse(text, path, fs::path(path).parent_path().string());
}

Deck Deck::parse(std::string const& text, std::string const& name, std::string const& folder) {
    Deck deck;
    deck.state_->name = name;
    deck.state_->folder = folder;
    deck.state_->root = parse_toml(text, name);
    return deck;
}

void Deck::set(std::string const& assignment) {
    std::size_t const equals = assignment.find('=');
    auto const trim = [](std::string text) {
        text.erase(0, text.find_first_not_of(" \t"));
        text.erase(text.find_last_not_of(" \t") + 1);
        return text;
    };
    std::string const key = equals == std::string::npos ? "" : trim(assignment.substr(0, equals));
    std::vector<std::string> const parts = split(key);
    if (parts.size() < 2 || !std::all_of(parts.begin(), parts.end(), [](auto const& part) { return is_bare(part); }))
        fail(ExitCode::bad_data, "--set {}: not of the form table.key=value; write for example --set run.rounds=2",
             assignment);
    toml::table holder;
    std::string const text = assignment.substr(equals + 1);
    try {
        holder = toml::parse("value = " + text);
    } catch (toml::parse_error const& error) {
        fail(ExitCode::bad_data, "--set {}: {}; give a TOML value, a string with quotes around it: --set '{}={}'",
             assignment, error.description(), key, toml_text::render(trim(text)));
    }
    if (holder.size() != 1) fail(ExitCode::bad_data, "--set {}: more than one value; give one key each", assignment);
    if (holder.get("value")->is_table())
        fail(ExitCode::bad_data, "--set {}: the value is a table; set its keys one by one", assignment);
    std::erase_if(state_->overrides, [&](Override const& item) { return item.key == key; });
    state_->overrides.push_back({key, assignment, std::move(holder)});
}

void Deck::bind(std::string const& key, bool& value, std::string const& doc) {
    if (toml::node const* const node = state_->find(key)) {
        if (!node->is_boolean()) state_->wrong_type(key, *node, "true or false");
        value = node->as_boolean()->get();
    }
    state_->remember(key, toml_text::render(value), doc, "");
}

void Deck::bind(std::string const& key, std::int64_t& value, std::string const& doc, Bounds bounds) {
    if (toml::node const* const node = state_->find(key)) {
        if (!node->is_integer()) state_->wrong_type(key, *node, "an integer");
        std::int64_t const given = node->as_integer()->get();
        state_->check_bounds(key, static_cast<double>(given), fmt::format("{}", given), bounds);
        value = given;
    }
    state_->remember(key, toml_text::render(value), doc, describe(bounds));
}

void Deck::bind(std::string const& key, double& value, std::string const& doc, Bounds bounds) {
    if (toml::node const* const node = state_->find(key)) {
        if (!node->is_number()) state_->wrong_type(key, *node, "a number");
        double const given =
            node->is_integer() ? static_cast<double>(node->as_integer()->get()) : node->as_floating_point()->get();
        if (!std::isfinite(given))
            fail(ExitCode::bad_data, "{}: {} is not finite; give a number", state_->where(key), key);
        state_->check_bounds(key, given, fmt::format("{}", given), bounds);
        value = given;
    }
    state_->remember(key, toml_text::render(value), doc, describe(bounds));
}

void Deck::bind(std::string const& key, std::string& value, std::string const& doc, std::vector<std::string> choices) {
    if (toml::node const* const node = state_->find(key)) {
        if (!node->is_string()) state_->wrong_type(key, *node, "a string");
        std::string const given = node->as_string()->get();
        if (!choices.empty()) state_->choice(key, given, choices);
        value = given;
    }
    state_->remember(key, toml_text::render(value), doc, quoted_list(choices));
}

void Deck::bind_path(std::string const& key, std::string& value, std::string const& doc) {
    if (toml::node const* const node = state_->find(key)) {
        if (!node->is_string()) state_->wrong_type(key, *node, "a string");
        value = state_->absolute(key, node->as_string()->get());
    }
    state_->remember(key, toml_text::render(value), doc, "");
}

void Deck::bind_paths(std::string const& key, std::vector<std::string>& value, std::string const& doc) {
    if (auto const given = state_->strings(key)) {
        value.clear();
        for (std::string const& path : *given)
            if (!path.empty()) value.push_back(state_->absolute(key, path));
    }
    state_->remember(key, toml_text::render(value), doc, "");
}

std::size_t Deck::bind_index(std::string const& key, std::size_t fallback, std::vector<std::string> const& names,
                             std::string const& doc) {
    std::string value = names.at(fallback);
    bind(key, value, doc, names);
    return state_->choice(key, value, names);
}

std::vector<std::size_t> Deck::bind_indices(std::string const& key, std::vector<std::size_t> const& fallback,
                                            std::vector<std::string> const& names, std::string const& doc) {
    std::vector<std::size_t> out = fallback;
    if (auto const given = state_->strings(key)) {
        if (given->empty())
            fail(ExitCode::bad_data, "{}: {} is an empty list; give at least one of {}", state_->where(key), key,
                 quoted_list(names));
        out.clear();
        for (std::string const& item : *given) out.push_back(state_->choice(key, item, names));
    }
    std::vector<std::string> values;
    for (std::size_t const index : out) values.push_back(names.at(index));
    state_->remember(key, toml_text::render(values), doc, quoted_list(names));
    return out;
}

bool Deck::has(std::string const& key) const { return state_->find(key) != nullptr; }

std::string Deck::where(std::string const& key) const { return state_->where(key); }

void Deck::finish() const {
    std::vector<std::string> const keys = state_->keys();
    std::vector<std::string> const tables = state_->tables();
    std::set<std::string> const known_keys(keys.begin(), keys.end());
    for (Override const& item : state_->overrides)
        if (known_keys.count(item.key) == 0)
            fail(ExitCode::bad_data, "--set {}: unknown key {}{}", item.assignment, item.key,
                 state_->suggestion(item.key));
    std::vector<Stranger> strangers;
    state_->collect_strangers(state_->root, "", known_keys, {tables.begin(), tables.end()}, strangers);
    if (strangers.empty()) return;
    Stranger const first = *std::min_element(strangers.begin(), strangers.end(),
                                             [](Stranger const& a, Stranger const& b) { return a.line < b.line; });
    if (first.should_be_table)
        fail(ExitCode::bad_data, "{}:{}: {} is a table of keys, not a value; write [{}] and its keys below",
             state_->name, first.line, first.key, first.key);
    fail(ExitCode::bad_data, "{}:{}: unknown {} {}{}", state_->name, first.line, first.is_table ? "table" : "key",
         first.key, first.is_table ? did_you_mean(first.key, tables) : state_->suggestion(first.key));
}

std::string Deck::effective(bool with_documentation) const {
    std::vector<std::string> order;
    std::map<std::string, std::string> text;
    for (Bound const& item : state_->bound) {
        std::string const table = parent(item.key);
        if (text.count(table) == 0) order.push_back(table);
        std::string& out = text[table];
        if (with_documentation) {
            std::string comment = item.allowed.empty() ? item.doc : fmt::format("{} ({})", item.doc, item.allowed);
            std::replace(comment.begin(), comment.end(), '\n', ' ');
            out += fmt::format("# {}\n", comment);
        }
        out += last_part(item.key) + " = " + item.value + "\n";
    }
    std::string out;
    for (std::string const& table : order)
        out += fmt::format("{}[{}]\n{}", out.empty() ? "" : "\n", table, text[table]);
    return out;
}

namespace {

void flatten(toml::table const& table, std::string const& path, std::map<std::string, std::string>& out) {
    for (auto const& [key, node] : table) {
        std::string const full = join(path, key.str());
        if (node.is_table())
            flatten(*node.as_table(), full, out);
        else
            out[full] = render_node(node);
    }
}

}  // namespace

std::map<std::string, std::string> keys_of(std::string const& effective) {
    std::map<std::string, std::string> keys;
    flatten(parse_toml(effective, "deck"), "", keys);
    return keys;
}

std::vector<std::string> differing_keys(std::string const& effective_a, std::string const& effective_b) {
    auto const a = keys_of(effective_a), b = keys_of(effective_b);
    std::vector<std::string> out;
    for (auto const& [key, value] : a) {
        auto const other = b.find(key);
        if (other == b.end() || other->second != value) out.push_back(key);
    }
    for (auto const& [key, value] : b)
        if (a.count(key) == 0) out.push_back(key);
    std::sort(out.begin(), out.end());
    return out;
}

}  // namespace selvage
