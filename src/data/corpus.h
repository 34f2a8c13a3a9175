// SPDX-License-Identifier: Apache-2.0
#pragma once
// The examples of a run: one or more data files in order, in memory (4 bytes a token), and the order they are taken in.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/files.h"
#include "text/tokenizer.h"

namespace selvage {

enum class TooLong : std::uint8_t { drop, truncate };

struct DataOptions {
    std::vector<std::string> train;  // data files
    std::vector<std::string> validation;
    std::vector<std::string> heldout;
    std::int64_t context = 512;  // most tokens of prompt and answer together
    TooLong too_long =
        TooLong::drop;  // truncate: the prompt loses its beginning; a pair whose answer alone does not fit is dropped
};

class Corpus {
  public:
    // Reads and verifies the files (each rank by itself). Errors (bad_data): tokenizers of the files differ, a token id
    // outside `vocabulary` (file, row), no example left.
    Corpus(io::IoThread& io, std::vector<std::string> const& paths, std::int64_t context, TooLong too_long,
           std::int64_t vocabulary);
    // The same from files in memory; `names` stand for them in errors.
    Corpus(std::vector<io::DataFile> files, std::vector<std::string> const& names, std::int64_t context,
           TooLong too_long, std::int64_t vocabulary);

    std::int64_t size() const { return static_cast<std::int64_t>(rows_.size()); }
    // The i-th example that was kept; its index is the row counted through the files.
    Example example(std::int64_t i) const;
    std::int64_t index(std::int64_t i) const;  // its row, without reading it
    std::int64_t prompt_tokens(std::int64_t i) const;
    std::int64_t answer_tokens(std::int64_t i) const;
    std::int64_t tokens() const { return static_cast<std::int64_t>(tokens_.size()); }
    TokenizerTable const& tokenizer() const { return tokenizer_; }
    std::int64_t dropped() const { return dropped_; }
    std::int64_t truncated() const { return truncated_; }
    // Of the examples as they are used (tokens, rows, truncation) and the tokenizer.
    std::string digest() const { return digest_; }

  private:
    void add_file(io::DataFile const& file, std::string const& name, std::int64_t context, TooLong too_long,
                  std::int64_t vocabulary, std::int64_t first_index);
    std::string make_digest() const;

    struct Row {
        std::int64_t index, begin, prompt, answer;
    };
    std::vector<Token> tokens_;
    std::vector<Row> rows_;
    TokenizerTable tokenizer_;
    std::int64_t dropped_ = 0;
    std::int64_t truncated_ = 0;
    std::string digest_;
};

// Data order: position `cursor` of the run's endless walk, a fresh permutation of the examples for every epoch.
std::int64_t ordered_example(std::int64_t cursor, std::int64_t examples, std::uint64_t seed);

}  // namespace selvage
