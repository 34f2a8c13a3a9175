// SPDX-License-Identifier: Apache-2.0
#include "io/user_block.h"

#include <fcntl.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "io/heap_guard.h"
#include "tensor/layout.h"

namespace selvage::io {
namespace {

constexpr std::string_view magic = "SELVAGE\n";
constexpr std::string_view hdf5_signature = "\x89HDF\r\n\x1a\n";

[[noreturn]] void fail_damaged(std::filesystem::path const& path, std::string_view what) {
    fail(ExitCode::bad_data, "{} is damaged ({}); use another copy of it", path.string(), what);
}

// The value of line "key: value" of the user block; empty where there is none.
std::string_view value_of(std::string_view block, std::string_view key) {
    std::string const opening = fmt::format("\n{}: ", key);
    std::size_t const at = block.find(opening);
    if (at == std::string_view::npos) return {};
    std::string_view const rest = block.substr(at + opening.size());
    return rest.substr(0, rest.find('\n'));
}

template <class Number>
bool parse(std::string_view text, int base, Number& into) {
    auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), into, base);
    return error == std::errc() && end == text.data() + text.size();
}

std::optional<UserBlock> parse_user_block(std::string_view text) {
    UserBlock block;
    block.format = value_of(text, "format");
    std::string_view const digest = value_of(text, "digest");
    if (!parse(value_of(text, "file_bytes"), 10, block.file_bytes)) return std::nullopt;
    if (digest.size() != 32 || !parse(digest.substr(0, 16), 16, block.digest.high) ||
        !parse(digest.substr(16), 16, block.digest.low) || block.format.size() > 100)
        return std::nullopt;
    // Any other difference from what we write (a flipped byte in the padding, say) is damage too.
    if (make_user_block(block) != text) return std::nullopt;
    return block;
}

// Files of other programs: HDF5 at the start, or behind a user block that holds nothing.
bool looks_like_plain_hdf5(std::string_view head) {
    for (std::size_t at : {0, 512, 1024, 2048, 4096}) {
        if (at + hdf5_signature.size() > head.size()) return false;
        if (head.substr(at, hdf5_signature.size()) == hdf5_signature)
            return head.substr(0, at).find_first_not_of('\0') == std::string_view::npos;
    }
    return false;
}

Checksums verify_head(PosixFile const& file, std::int64_t bytes, std::optional<UserBlock>& block) {
    std::string const name = file.path().string();
    if (bytes == 0) fail(ExitCode::bad_data, "{} is empty; it was not written to its end", name);
    std::string head(static_cast<std::size_t>(std::min<std::int64_t>(bytes, user_block_bytes + 8)), '\0');
    file.read(std::as_writable_bytes(std::span(head)), 0);
    if (!head.starts_with(magic)) {
        if (looks_like_plain_hdf5(head)) {
            check_global_heaps(file);
            return Checksums::absent;
        }
        fail(ExitCode::bad_data, "{} is not a file of Selvage (it does not start like HDF5); check the path", name);
    }
    if (bytes <= user_block_bytes)
        fail(ExitCode::bad_data, "{} is truncated ({} bytes); use another copy", name, bytes);
    head.resize(user_block_bytes);
    block = parse_user_block(head);
    if (!block) fail_damaged(file.path(), "its user block does not hold together");
    if (block->file_bytes != bytes)
        fail_damaged(file.path(), fmt::format("it has {} bytes, {} were written", bytes, block->file_bytes));
    return Checksums::verified;
}

}  // namespace

Digest digest_of_blocks(PosixFile const& file, std::int64_t file_bytes, Communicator* ranks) {
    std::int64_t const blocks =
        std::max<std::int64_t>(0, file_bytes - user_block_bytes + digest_block_bytes - 1) / digest_block_bytes;
    EvenSplit const split(blocks, ranks != nullptr ? ranks->size() : 1);
    Range const mine = split.part(ranks != nullptr ? ranks->rank() : 0);
    std::vector<std::byte> buffer(static_cast<std::size_t>(digest_block_bytes));
    std::vector<Digest> digests;
    auto const work = [&] {
        for (std::int64_t i = mine.begin; i < mine.end; ++i) {
            std::int64_t const from = user_block_bytes + i * digest_block_bytes;
            std::span const block(buffer.data(),
                                  static_cast<std::size_t>(std::min(digest_block_bytes, file_bytes - from)));
            file.read(block, from);
            digests.push_back(digest_of(std::span<std::byte const>(block)));
        }
    };
    if (ranks == nullptr) {
        work();
        return digest_of(std::as_bytes(std::span(digests)));
    }
    agree(*ranks, work);
    std::vector<Digest> all(static_cast<std::size_t>(blocks));
    std::vector<std::size_t> counts;
    for (int r = 0; r < ranks->size(); ++r)
        counts.push_back(static_cast<std::size_t>(split.part(r).size()) * sizeof(Digest));
    ranks->all_gather_v(std::as_bytes(std::span(digests)), std::as_writable_bytes(std::span(all)), counts);
    return digest_of(std::as_bytes(std::span(all)));
}

std::string make_user_block(UserBlock const& block) {
    std::string text = fmt::format(
        "{}format: {}\nfile_bytes: {}\nblock_bytes: {}\ndigest_of: XXH3-128 of the list of XXH3-128 digests of the "
        "blocks after byte {}\ndigest: {}\n",
        magic, block.format, block.file_bytes, digest_block_bytes, user_block_bytes, block.digest.hex());
    text += fmt::format("digest_of_these_lines: {}\n", digest_of(text).hex());
    text.resize(static_cast<std::size_t>(user_block_bytes), '\0');
    return text;
}

Checksums verify_checksums(std::filesystem::path const& path, Communicator* ranks) {
    PosixFile file;
    std::int64_t bytes = 0;
    std::optional<UserBlock> block;
    Checksums checksums = Checksums::absent;
    auto const open = [&] {
        file = PosixFile(path, O_RDONLY);
        bytes = file.size();
        checksums = verify_head(file, bytes, block);
    };
    if (ranks != nullptr)
        agree(*ranks, open);
    else
        open();
    if (checksums == Checksums::absent) return checksums;
    if (digest_of_blocks(file, bytes, ranks) != block->digest)
        fail_damaged(path, "the digest of its content does not match the one in its first bytes");
    return checksums;
}

}  // namespace selvage::io
