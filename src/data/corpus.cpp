// SPDX-License-Identifier: Apache-2.0
#include "data/corpus.h"

#include <algorithm>
#include <utility>

#include "base/digest.h"
#include "base/error.h"
#include "base/permutation.h"

namespace selvage {
namespace {

std::vector<io::DataFile> read_files(io::IoThread& io, std::vector<std::string> const& paths) {
    std::vector<io::DataFile> files;
    for (std::string const& path : paths) files.push_back(io::read_data(io, path));
    return files;
}

// The three datasets of a file that another program may have written fit each other.
void check_shape(io::DataFile const& file, std::string const& name) {
    auto const pairs = static_cast<std::size_t>(file.pairs());
    if (file.offsets.size() != pairs + 1 || file.offsets.front() != 0 ||
        file.offsets.back() != static_cast<std::int64_t>(file.tokens.size()))
        fail(ExitCode::bad_data,
             "{}: /offsets ({} values) does not fit /prompt_length ({} pairs) and /tokens ({}); it has one value more "
             "than "
             "there are pairs, from 0 to the number of tokens",
             name, file.offsets.size(), pairs, file.tokens.size());
}

void check_row(io::DataFile const& file, std::size_t row, std::string const& name, std::int64_t vocabulary) {
    std::int64_t const begin = file.offsets[row];
    std::int64_t const end = file.offsets[row + 1];
    std::int64_t const prompt = file.prompt_length[row];
    if (begin < 0 || end < begin || end > static_cast<std::int64_t>(file.tokens.size()))
        fail(ExitCode::bad_data, "{}: row {}: /offsets runs from {} to {}; offsets must rise", name, row, begin, end);
    if (prompt < 1 || prompt >= end - begin)
        fail(ExitCode::bad_data,
             "{}: row {}: a prompt of {} in {} tokens; prompt and answer need at least one token each", name, row,
             prompt, end - begin);
    for (std::int64_t i = begin; i < end; ++i) {
        Token const id = file.tokens[static_cast<std::size_t>(i)];
        if (id < 0 || id >= vocabulary)
            fail(ExitCode::bad_data,
                 "{}: row {}: token id {} is outside the model's vocabulary of {}; raise model.vocabulary, or prepare "
                 "the "
                 "data with the model's tokenizer",
                 name, row, id, vocabulary);
    }
    Token const last = file.tokens[static_cast<std::size_t>(end - 1)];
    if (last != file.tokenizer.special.end_of_answer)
        fail(ExitCode::bad_data,
             "{}: row {}: the answer ends with token {} instead of end-of-answer ({}); write the file again", name, row,
             last, file.tokenizer.special.end_of_answer);
}

template <class T>
void add(DigestStream& digest, std::vector<T> const& values) {
    digest.update(values.data(), values.size() * sizeof(T));
}

void add(DigestStream& digest, std::string const& text) {
    auto const size = static_cast<std::int64_t>(text.size());
    digest.update(&size, sizeof size);
    digest.update(text.data(), text.size());
}

}  // namespace

Corpus::Corpus(io::IoThread& io, std::vector<std::string> const& paths, std::int64_t context, TooLong too_long,
               std::int64_t vocabulary)
    : Corpus(read_files(io, paths), paths, context, too_long, vocabulary) {}

Corpus::Corpus(std::vector<io::DataFile> files, std::vector<std::string> const& names, std::int64_t context,
               TooLong too_long, std::int64_t vocabulary) {
    SELVAGE_CHECK(files.size() == names.size(), "{} files, {} names", files.size(), names.size());
    if (files.empty())
        fail(ExitCode::bad_data, "no data file is named; set data.train, data.validation or data.heldout");
    tokenizer_ = files.front().tokenizer;
    if (vocabulary == 0) vocabulary = static_cast<std::int64_t>(tokenizer_.pieces.size());
    std::int64_t index = 0;
    for (std::size_t i = 0; i < files.size(); ++i) {
        if (files[i].tokenizer != tokenizer_)
            fail(ExitCode::bad_data, "{} and {} have different tokenizers; prepare them with the same one",
                 names.front(), names[i]);
        add_file(files[i], names[i], context, too_long, vocabulary, index);
        index += files[i].pairs();
        files[i] = {};
    }
    if (rows_.empty())
        fail(ExitCode::bad_data,
             "{}: no example is left ({} of {} are longer than data.context = {}); raise data.context, or set "
             "data.too_long = \"truncate\"",
             files.size() == 1 ? names.front() : fmt::format("{} and {} more", names.front(), files.size() - 1),
             dropped_, index, context);
    digest_ = make_digest();
}

void Corpus::add_file(io::DataFile const& file, std::string const& name, std::int64_t context, TooLong too_long,
                      std::int64_t vocabulary, std::int64_t first_index) {
    check_shape(file, name);
    for (std::size_t row = 0; row < file.prompt_length.size(); ++row) {
        check_row(file, row, name, vocabulary);
        std::int64_t begin = file.offsets[row];
        std::int64_t const end = file.offsets[row + 1];
        std::int64_t prompt = file.prompt_length[row];
        std::int64_t const answer = end - begin - prompt;
        if (prompt + answer > context) {
            // A prompt keeps one token at least.
            if (too_long == TooLong::drop || answer + 1 > context) {
                ++dropped_;
                continue;
            }
            ++truncated_;
            prompt = context - answer;
            begin = end - answer - prompt;
        }
        rows_.push_back(
            {first_index + static_cast<std::int64_t>(row), static_cast<std::int64_t>(tokens_.size()), prompt, answer});
        tokens_.insert(tokens_.end(), file.tokens.begin() + begin, file.tokens.begin() + end);
    }
}

// Of the examples as they are used, so that it does not depend on how they are spread over files.
std::string Corpus::make_digest() const {
    DigestStream digest;
    add(digest, tokens_);
    for (Row const& row : rows_) {
        std::int64_t const numbers[] = {row.index, row.prompt, row.answer};
        digest.update(numbers, sizeof numbers);
    }
    add(digest, tokenizer_.kind);
    for (std::string const& piece : tokenizer_.pieces) add(digest, piece);
    Token const special[] = {tokenizer_.special.end_of_answer, tokenizer_.special.begin, tokenizer_.special.padding};
    digest.update(special, sizeof special);
    return digest.finish().hex();
}

Example Corpus::example(std::int64_t i) const {
    SELVAGE_CHECK(i >= 0 && i < size(), "example {} of {}", i, size());
    Row const& row = rows_[static_cast<std::size_t>(i)];
    auto const begin = tokens_.begin() + row.begin;
    return {row.index, {begin, begin + row.prompt}, {begin + row.prompt, begin + row.prompt + row.answer}};
}

std::int64_t Corpus::index(std::int64_t i) const { return rows_.at(static_cast<std::size_t>(i)).index; }
std::int64_t Corpus::prompt_tokens(std::int64_t i) const { return rows_.at(static_cast<std::size_t>(i)).prompt; }
std::int64_t Corpus::answer_tokens(std::int64_t i) const { return rows_.at(static_cast<std::size_t>(i)).answer; }

std::int64_t ordered_example(std::int64_t cursor, std::int64_t examples, std::uint64_t seed) {
    SELVAGE_CHECK(cursor >= 0 && examples > 0, "position {} of {} examples", cursor, examples);
    auto const size = static_cast<std::uint64_t>(examples);
    auto const place = static_cast<std::uint64_t>(cursor);
    Permutation const order(size, seed, Purpose::data_order, static_cast<std::uint32_t>(place / size));
    return static_cast<std::int64_t>(order(place % size));
}

}  // namespace selvage
