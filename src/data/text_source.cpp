// SPDX-License-Identifier: Apache-2.0
#include "data/text_source.h"

#define ZLIB_CONST  // input is not written to
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace selvage {
namespace {

constexpr std::size_t chunk = std::size_t{1} << 18;

class PlainFile final : public TextSource {
  public:
    explicit PlainFile(std::string path) : path_(std::move(path)) {
        if (!std::filesystem::exists(path_)) fail(ExitCode::missing_input, "{}: no such file; check --input", path_);
        if (std::filesystem::is_directory(path_))
            fail(ExitCode::bad_data, "{}: a folder, not a JSONL file; give the file in it", path_);
        file_.open(path_, std::ios::binary);
        if (!file_) fail(ExitCode::io, "{}: cannot be opened; check its permissions", path_);
    }

    std::size_t read(std::span<char> buffer) override {
        file_.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
        if (file_.bad()) fail(ExitCode::io, "{}: cannot be read to its end; check the disk", path_);
        return static_cast<std::size_t>(file_.gcount());
    }

    bool begins_with(std::string_view magic) {
        std::string start(magic.size(), '\0');
        start.resize(read(start));
        file_.clear();
        file_.seekg(0);
        return start == magic;
    }

    std::string const& path() const { return path_; }

  private:
    std::string path_;
    std::ifstream file_;
};

// What both ways of packing share: packed bytes come in chunks, and a text may have many parts.
class PackedFile : public TextSource {
  public:
    explicit PackedFile(std::unique_ptr<PlainFile> file) : file_(std::move(file)), packed_(chunk) {}

    std::size_t read(std::span<char> buffer) final {
        for (;;) {
            if (begin_ == end_) {
                begin_ = 0;
                end_ = file_->read(packed_);
            }
            if (begin_ == end_ && !open_) return 0;
            std::span<char const> const input(packed_.data() + begin_, end_ - begin_);
            auto const [taken, made] = unpack(input, buffer);
            begin_ += taken;
            if (made > 0) return made;
            if (input.empty()) damaged("it ends in the middle");
        }
    }

  protected:
    struct Progress {
        std::size_t taken, made;
    };
    // Unpacks from the front of `input` (empty at the end of the file) to the front of `output`; sets open_.
    virtual Progress unpack(std::span<char const> input, std::span<char> output) = 0;
    [[noreturn]] void damaged(std::string const& why) const {
        fail(ExitCode::bad_data, "{}: packed text that is damaged ({}); get the file again, or unpack it yourself",
             file_->path(), why);
    }
    bool open_ = true;  // a part has begun and not ended

  private:
    std::unique_ptr<PlainFile> file_;
    std::vector<char> packed_;
    std::size_t begin_ = 0, end_ = 0;
};

class GzipFile final : public PackedFile {
  public:
    explicit GzipFile(std::unique_ptr<PlainFile> file) : PackedFile(std::move(file)) {
        SELVAGE_CHECK(inflateInit2(&stream_, 16 + MAX_WBITS) == Z_OK, "zlib {}", zlibVersion());  // 16: gzip alone
    }
    ~GzipFile() override { inflateEnd(&stream_); }

  private:
    Progress unpack(std::span<char const> input, std::span<char> output) override {
        if (!open_) inflateReset(&stream_);
        open_ = true;
        stream_.next_in = reinterpret_cast<Bytef const*>(input.data());
        stream_.avail_in = static_cast<uInt>(input.size());
        stream_.next_out = reinterpret_cast<Bytef*>(output.data());
        stream_.avail_out = static_cast<uInt>(std::min(output.size(), chunk));
        uInt const room = stream_.avail_out;
        int const status = inflate(&stream_, Z_NO_FLUSH);
        if (status == Z_STREAM_END) open_ = false;
        if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
            damaged(stream_.msg != nullptr ? stream_.msg : "gzip");
        return {input.size() - stream_.avail_in, room - stream_.avail_out};
    }

    z_stream stream_{};
};

class ZstdFile final : public PackedFile {
  public:
    explicit ZstdFile(std::unique_ptr<PlainFile> file) : PackedFile(std::move(file)), stream_(ZSTD_createDStream()) {
        SELVAGE_CHECK(stream_ != nullptr, "zstd {}", ZSTD_versionString());
    }
    ~ZstdFile() override { ZSTD_freeDStream(stream_); }

  private:
    Progress unpack(std::span<char const> input, std::span<char> output) override {
        ZSTD_inBuffer in{input.data(), input.size(), 0};
        ZSTD_outBuffer out{output.data(), output.size(), 0};
        std::size_t const status = ZSTD_decompressStream(stream_, &out, &in);
        if (ZSTD_isError(status) != 0) damaged(ZSTD_getErrorName(status));
        open_ = status != 0;
        return {in.pos, out.pos};
    }

    ZSTD_DStream* stream_;
};

}  // namespace

std::unique_ptr<TextSource> open_text(std::string const& path) {
    auto file = std::make_unique<PlainFile>(path);
    if (file->begins_with("\x1f\x8b")) return std::make_unique<GzipFile>(std::move(file));
    if (file->begins_with("\x28\xb5\x2f\xfd")) return std::make_unique<ZstdFile>(std::move(file));
    return file;
}

LineReader::LineReader(std::string path) : path_(std::move(path)), source_(open_text(path_)), buffer_(chunk) {}

bool LineReader::next(std::string& line) {
    line.clear();
    had_newline_ = false;
    for (;;) {
        if (begin_ == end_) {
            begin_ = 0;
            end_ = source_->read(buffer_);
            if (end_ == 0) return !line.empty();
        }
        char const* const begin = buffer_.data() + begin_;
        auto const* const newline = static_cast<char const*>(std::memchr(begin, '\n', end_ - begin_));
        std::size_t const length = newline != nullptr ? static_cast<std::size_t>(newline - begin) : end_ - begin_;
        if (line.size() + length > longest_line)
            fail(ExitCode::bad_data, "{}: a line of more than {} bytes; write one JSON object per line", path_,
                 longest_line);
        line.append(begin, length);
        begin_ += length + (newline != nullptr ? 1 : 0);
        if (newline != nullptr) {
            had_newline_ = true;
            return true;
        }
    }
}

}  // namespace selvage
