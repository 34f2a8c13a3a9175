// SPDX-License-Identifier: Apache-2.0
#pragma once
// Text files, plain or packed (gzip, Zstandard), line by line.
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace selvage {

// The bytes of a file, unpacked where they begin as gzip or Zstandard do (the name does not matter). Frames or members
// one behind the other are one text. Errors: missing_input (no such file), bad_data (a folder; packed data that is
// damaged or cut off), io (cannot be read).
class TextSource {
  public:
    virtual ~TextSource() = default;
    // Fills the front of `buffer`; returns how much, 0 at the end.
    virtual std::size_t read(std::span<char> buffer) = 0;
};
std::unique_ptr<TextSource> open_text(std::string const& path);

// The lines of a text. The last one need not end with a newline.
class LineReader {
  public:
    static constexpr std::size_t longest_line = std::size_t{1} << 30;

    explicit LineReader(std::string path);
    // False at the end. `line` comes without its newline. Errors: as TextSource, and bad_data for a line above
    // longest_line bytes.
    bool next(std::string& line);
    // Whether the line that next() gave had a newline behind it.
    bool had_newline() const { return had_newline_; }

  private:
    std::string path_;
    std::unique_ptr<TextSource> source_;
    std::vector<char> buffer_;
    std::size_t begin_ = 0, end_ = 0;  // of what is still to come in buffer_
    bool had_newline_ = false;
};

}  // namespace selvage
