// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "io/files.h"
#include "text/tokenizer.h"

namespace selvage {

struct PrepareOptions {
    bool drop_bad_lines = false;   // lines that are no pair are left out; else the first is an error
    bool drop_duplicates = false;  // of pairs with the same prompt and answer the first stays
    std::int64_t max_tokens = 0;   // longer pairs (prompt, answer, end-of-answer) are left out; 0: none
    bool begin = false;            // the tokenizer's begin token, which it must have, opens every prompt
};

// Lines of the files that something happened to.
struct LineList {
    std::string what;
    struct Line {
        std::int32_t file;
        std::int64_t number;  // from 1
    };
    std::vector<Line> lines;
};

struct PrepareReport {
    std::int64_t lines = 0;
    std::int64_t empty_lines = 0;
    std::vector<LineList> dropped;  // by reason, in the order of their first lines
    LineList duplicates;            // pairs that stand in a line before, dropped or not
};

struct PreparedData {
    io::DataFile file;
    PrepareReport report;
};

// JSONL files, in order, to tokens; the answer gets end-of-answer behind it. Collective: every rank reads all files and
// encodes its share of the lines; what rank 0 returns does not depend on how many there are, the others return nothing
// of use. Errors, on every rank: those of TextSource and LineReader; bad_data with file and line of the first bad line;
// no pair in any file.
PreparedData prepare_data(Communicator& world, std::vector<std::string> const& inputs, Tokenizer const& tokenizer,
                          PrepareOptions const& options);

// Lengths (percentiles by nearest rank), empty lines, duplicates and dropped lines with their numbers.
std::string describe(PreparedData const& data, std::vector<std::string> const& inputs, PrepareOptions const& options);

}  // namespace selvage
