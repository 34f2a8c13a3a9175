// SPDX-License-Identifier: Apache-2.0
#include <limits>

#include "io/contents.h"
#include "io/file_writer.h"
#include "io/tokenizer_group.h"

namespace selvage::io {

void write_data(IoThread& io, Path const& path, DataFile const& file) {
    SELVAGE_CHECK(file.offsets.size() == file.prompt_length.size() + 1, "{} offsets for {} pairs", file.offsets.size(),
                  file.prompt_length.size());
    io.call([&] {
        std::int64_t const bytes = static_cast<std::int64_t>(4 * file.tokens.size() + 12 * file.offsets.size()) +
                                   tokenizer_bytes(file.tokenizer);
        FileWriter out(path, "selvage-data", {nullptr, expected_file_bytes(bytes, 6)});
        out.root_attributes("", file.attributes);
        out.column("/tokens", file.tokens);
        out.column("/offsets", file.offsets);
        out.column("/prompt_length", file.prompt_length);
        write_tokenizer(out, file.tokenizer);
        out.commit();
    });
}

DataFile load_data(FileReader const& file) {
    file.expect("selvage-data");
    DataFile out;
    out.tokens = file.values<Token>("/tokens");
    out.offsets = file.values<std::int64_t>("/offsets");
    out.prompt_length = file.values<std::int32_t>("/prompt_length");
    check_offsets(file, "/offsets", out.offsets, out.tokens.size());
    check_length(file, "/prompt_length", out.prompt_length.size(), out.offsets.size() - 1);
    check_range(file, "/tokens", out.tokens, 0, std::numeric_limits<Token>::max());
    for (std::size_t i = 0; i < out.prompt_length.size(); ++i) {
        std::int64_t const length = out.offsets[i + 1] - out.offsets[i];
        if (length == 0)
            file.fail_at("/offsets",
                         fmt::format("{} at {} and {}: the pair between has no token", out.offsets[i], i, i + 1));
        if (out.prompt_length[i] < 0 || out.prompt_length[i] > length)
            file.fail_at("/prompt_length",
                         fmt::format("{} at {}, where the pair has {} tokens", out.prompt_length[i], i, length));
    }
    out.tokenizer = read_tokenizer(file);
    out.attributes = file.attributes();
    return out;
}

DataFile read_data(IoThread& io, Path const& path) {
    return io.call([&] { return load_data(FileReader(path)); });
}

}  // namespace selvage::io
