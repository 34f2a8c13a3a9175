// SPDX-License-Identifier: Apache-2.0
#include "data/prepare.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <unordered_set>
#include <utility>

#include "base/digest.h"
#include "base/error.h"
#include "data/jsonl.h"
#include "data/text_source.h"

namespace selvage {
namespace {

using Bytes = std::vector<std::byte>;

// Lines that one rank encodes before the next one's turn.
constexpr std::int64_t lines_in_a_turn = 64;

// A line that is a pair. Pairs go from rank to rank as bytes.
struct Pair {
    std::int64_t line;
    std::int64_t tokens;  // of prompt and answer, end-of-answer included
    std::int32_t file;
    std::int32_t prompt;
};

struct Failure {
    std::int64_t place;
    ExitCode code;
    std::string message;
};

std::int64_t place_of(std::int32_t file, std::int64_t line) { return (std::int64_t{file} << 44) + line; }

// One rank's share of the lines.
class Share {
  public:
    Share(Communicator& world, Tokenizer const& tokenizer, PrepareOptions const& options)
        : world_(world), tokenizer_(tokenizer), options_(options) {}

    // Stops at its first failure.
    void read(std::vector<std::string> const& inputs) {
        for (std::size_t i = 0; i < inputs.size() && !failure; ++i) {
            file_ = static_cast<std::int32_t>(i);
            line_ = 0;
            try {
                read_file(inputs[i]);
            } catch (Error const& error) {
                failure = {place_of(file_, line_), error.code(), error.what()};
            }
        }
    }

    std::vector<Pair> pairs;
    std::vector<Token> tokens;
    std::string drops;  // "file line reason\n" each
    std::optional<Failure> failure;
    DigestStream source;  // of all lines of all files
    std::int64_t lines = 0;
    std::int64_t empty_lines = 0;

  private:
    void read_file(std::string const& path) {
        LineReader reader(path);
        std::string line;
        while (++line_, reader.next(line)) {
            ++lines;
            source.update(line.data(), line.size());
            if (reader.had_newline()) source.update("\n", 1);
            std::string_view text = line;
            if (line_ == 1 && text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);  // byte-order mark
            if (text.find_first_not_of(" \t\r") == std::string_view::npos)
                ++empty_lines;
            else if (lines / lines_in_a_turn % world_.size() == world_.rank())
                add_line(text, path);
        }
    }

    void add_line(std::string_view line, std::string const& path) {
        try {
            add_pair(parse_line(line));
        } catch (BadLine const& bad) {
            if (!options_.drop_bad_lines)
                fail(ExitCode::bad_data, "{}:{}: {}; {} (--bad-lines drop leaves such lines out)", path, line_,
                     bad.what, bad.hint);
            drop(bad.what);
        }
    }

    void add_pair(TextPair const& pair) {
        auto prompt = encode(pair.prompt);
        if (prompt.empty())
            throw BadLine{"the prompt has no token left (the tokenizer drops all of it)", "leave the line out"};
        if (options_.begin) prompt.insert(prompt.begin(), tokenizer_.special().begin);
        auto const answer = encode(pair.response);
        std::size_t const length = prompt.size() + answer.size() + 1;
        if (length > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()))
            throw BadLine{"too many tokens for one pair", "split it"};
        if (options_.max_tokens > 0 && length > static_cast<std::size_t>(options_.max_tokens))
            return drop(fmt::format("more than {} tokens", options_.max_tokens));
        tokens.insert(tokens.end(), prompt.begin(), prompt.end());
        tokens.insert(tokens.end(), answer.begin(), answer.end());
        tokens.push_back(tokenizer_.special().end_of_answer);
        pairs.push_back({line_, static_cast<std::int64_t>(length), file_, static_cast<std::int32_t>(prompt.size())});
    }

    std::vector<Token> encode(std::string const& text) const {
        try {
            return tokenizer_.encode(text);
        } catch (Error const& error) {
            throw BadLine{"the tokenizer refuses it", error.what()};
        }
    }

    void drop(std::string const& reason) { drops += fmt::format("{} {} {}\n", file_, line_, reason); }

    Communicator& world_;
    Tokenizer const& tokenizer_;
    PrepareOptions const& options_;
    std::int32_t file_ = 0;
    std::int64_t line_ = 0;
};

// The first failure in the order of lines, on every rank, whoever met it.
void agree_on_failure(Communicator& world, Share const& share) {
    std::int64_t const none = std::numeric_limits<std::int64_t>::max();
    std::int64_t const first = min_over(world, share.failure ? share.failure->place : none);
    agree(world, [&] {
        if (share.failure && share.failure->place == first) fail(share.failure->code, "{}", share.failure->message);
    });
}

// Ranks whose nodes see different files would mix them.
void agree_on_source(Communicator& world, std::string const& digest) {
    std::string const root = broadcast_text(world, digest, 0);
    agree(world, [&] {
        if (digest != root)
            fail(ExitCode::io,
                 "this rank reads other text in the inputs than rank 0 does; put them where all nodes see the same "
                 "files");
    });
}

template <class T>
std::vector<std::vector<T>> gather(Communicator& world, std::vector<T> const& mine) {
    std::vector<std::vector<T>> parts;
    for (Bytes const& bytes : gather_bytes(world, std::as_bytes(std::span(mine)), 0)) {
        parts.emplace_back(bytes.size() / sizeof(T));
        if (!bytes.empty()) std::memcpy(parts.back().data(), bytes.data(), bytes.size());
    }
    return parts;
}

struct PlacedPair {
    Pair pair;
    Token const* tokens;
    std::span<Token const> all() const { return {tokens, static_cast<std::size_t>(pair.tokens)}; }
};

// The pairs of all ranks in the order of their lines; they point into `tokens`.
std::vector<PlacedPair> in_order(std::vector<std::vector<Pair>> const& pairs,
                                 std::vector<std::vector<Token>> const& tokens) {
    std::vector<PlacedPair> placed;
    for (std::size_t r = 0; r < pairs.size(); ++r) {
        Token const* at = tokens[r].data();
        for (Pair const& pair : pairs[r]) {
            placed.push_back({pair, at});
            at += pair.tokens;
        }
    }
    std::ranges::sort(placed, {}, [](PlacedPair const& p) { return place_of(p.pair.file, p.pair.line); });
    return placed;
}

struct SamePair {
    std::size_t operator()(PlacedPair const* p) const {
        return digest_of(std::as_bytes(p->all())).low ^ static_cast<std::size_t>(p->pair.prompt);
    }
    bool operator()(PlacedPair const* a, PlacedPair const* b) const {
        return a->pair.prompt == b->pair.prompt && std::ranges::equal(a->all(), b->all());
    }
};

void add_pairs(std::vector<PlacedPair> const& placed, PrepareOptions const& options, PreparedData& data) {
    io::DataFile& file = data.file;
    file.offsets.push_back(0);
    std::unordered_set<PlacedPair const*, SamePair, SamePair> seen;
    for (PlacedPair const& p : placed) {
        if (!seen.insert(&p).second) {
            data.report.duplicates.lines.push_back({p.pair.file, p.pair.line});
            if (options.drop_duplicates) continue;
        }
        auto const all = p.all();
        file.tokens.insert(file.tokens.end(), all.begin(), all.end());
        file.prompt_length.push_back(p.pair.prompt);
        file.offsets.push_back(static_cast<std::int64_t>(file.tokens.size()));
    }
}

// `texts` are the drops of each rank.
std::vector<LineList> lists_of(std::vector<std::vector<char>> const& texts) {
    struct Drop {
        LineList::Line line;
        std::string reason;
    };
    std::vector<Drop> drops;
    for (std::vector<char> const& text : texts)
        for (auto at = text.begin(); at != text.end();) {
            auto const end = std::find(at, text.end(), '\n');
            std::string const words(at, end);
            std::size_t const first = words.find(' ');
            std::size_t const second = words.find(' ', first + 1);
            drops.push_back({{std::stoi(words), std::stoll(words.substr(first))}, words.substr(second + 1)});
            at = end + 1;
        }
    std::ranges::sort(drops, {}, [](Drop const& drop) { return place_of(drop.line.file, drop.line.number); });
    std::vector<LineList> lists;
    for (Drop const& drop : drops) {
        auto found = std::ranges::find(lists, drop.reason, &LineList::what);
        if (found == lists.end()) found = lists.insert(lists.end(), {drop.reason, {}});
        found->lines.push_back(drop.line);
    }
    return lists;
}

std::string names_of(std::vector<std::string> const& inputs) {
    constexpr std::size_t most = 100;  // attributes are small
    std::string names;
    for (std::size_t i = 0; i < std::min(inputs.size(), most); ++i)
        names += (i > 0 ? ", " : "") + std::filesystem::path(inputs[i]).filename().string();
    if (inputs.size() > most) names += fmt::format(" and {} more", inputs.size() - most);
    return names;
}

}  // namespace

PreparedData prepare_data(Communicator& world, std::vector<std::string> const& inputs, Tokenizer const& tokenizer,
                          PrepareOptions const& options) {
    Share share(world, tokenizer, options);
    share.read(inputs);
    agree_on_failure(world, share);
    std::string const digest = share.source.finish().hex();
    agree_on_source(world, digest);
    auto const pairs = gather(world, share.pairs);
    auto const tokens = gather(world, share.tokens);
    auto const drops = gather(world, std::vector<char>(share.drops.begin(), share.drops.end()));

    PreparedData data;
    PrepareReport& report = data.report;
    report.lines = share.lines;
    report.empty_lines = share.empty_lines;
    report.dropped = lists_of(drops);
    report.duplicates.what = "the same prompt and answer as a line before";
    add_pairs(in_order(pairs, tokens), options, data);
    agree(world, [&] {
        if (world.rank() == 0 && data.file.pairs() == 0)
            fail(ExitCode::bad_data,
                 "{}: no text pair in it ({} lines, {} of them empty); a line is {{\"prompt\": \"...\", \"response\": "
                 "\"...\"}} or {{\"messages\": [...]}}",
                 inputs.size() == 1 ? inputs.front() : fmt::format("{} and {} more", inputs.front(), inputs.size() - 1),
                 report.lines, report.empty_lines);
    });
    data.file.tokenizer = tokenizer.table();
    auto& attributes = data.file.attributes;
    attributes.text["source"] = names_of(inputs);
    attributes.text["source_digest"] = digest;
    attributes.integers["source_lines"] = report.lines;
    attributes.integers["empty_lines"] = report.empty_lines;
    std::int64_t dropped = 0;
    for (LineList const& list : report.dropped) dropped += static_cast<std::int64_t>(list.lines.size());
    attributes.integers["dropped_lines"] = dropped;
    attributes.integers["duplicates"] = static_cast<std::int64_t>(report.duplicates.lines.size());
    attributes.integers["duplicates_dropped"] = options.drop_duplicates ? 1 : 0;
    return data;
}

}  // namespace selvage
