// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "data/corpus.h"
#include "text/tokenizer.h"

namespace selvage {

// The data of a job, read and checked once.
struct Corpora {
    Corpus train;
    Corpus heldout;
    std::optional<Corpus> validation;
    std::unique_ptr<Tokenizer> tokenizer;
};
// Each rank by itself. Errors (bad_data): files with different tokenizers, ids outside the vocabulary.
Corpora open_corpora(io::IoThread& io, DataOptions const& options, std::int64_t vocabulary);

// Error (bad_data) unless this is the data of the checkpoint, by the digest that it carries ("": any).
void check_same_data(Corpus const& train, std::string const& digest, io::Path const& checkpoint);

}  // namespace selvage
