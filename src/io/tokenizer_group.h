// SPDX-License-Identifier: Apache-2.0
#pragma once
// Private to io: /tokenizer of data files, models and checkpoints.
#include "io/file_reader.h"
#include "io/file_writer.h"
#include "text/tokenizer.h"

namespace selvage::io {

void write_tokenizer(FileWriter& file, TokenizerTable const& table);
TokenizerTable read_tokenizer(FileReader const& file);
std::int64_t tokenizer_bytes(TokenizerTable const& table);

// Error(bad_data) unless offsets are 0 = o[0] <= o[1] <= ... <= o[n] = total.
void check_offsets(FileReader const& file, std::string const& name, std::vector<std::int64_t> const& offsets,
                   std::size_t total);
// Error(bad_data) unless a dataset has this many elements.
void check_length(FileReader const& file, std::string const& name, std::size_t length, std::size_t expected);

}  // namespace selvage::io
