// SPDX-License-Identifier: Apache-2.0
#include <limits>

#include "io/contents.h"
#include "io/file_writer.h"
#include "io/tokenizer_group.h"

namespace selvage::io {

void write_scores(IoThread& io, Path const& path, ScoresFile const& file) {
    SELVAGE_CHECK(file.tokens.size() == file.logprob.size(), "{} log-probabilities for {} tokens", file.logprob.size(),
                  file.tokens.size());
    io.call([&] {
        auto const bytes = static_cast<std::int64_t>(8 * file.tokens.size() + 8 * file.offsets.size());
        FileWriter out(path, "selvage-scores", {nullptr, expected_file_bytes(bytes, 3)});
        out.root_attributes("", file.attributes);
        out.column("/tokens", file.tokens);
        out.column("/offsets", file.offsets);
        out.column("/logprob", file.logprob);
        out.commit();
    });
}

ScoresFile load_scores(FileReader const& file) {
    file.expect("selvage-scores");
    ScoresFile out;
    out.tokens = file.values<Token>("/tokens");
    out.offsets = file.values<std::int64_t>("/offsets");
    out.logprob = file.values<float>("/logprob");
    check_offsets(file, "/offsets", out.offsets, out.tokens.size());
    check_length(file, "/logprob", out.logprob.size(), out.tokens.size());
    check_range(file, "/tokens", out.tokens, 0, std::numeric_limits<Token>::max());
    check_finite<float>(file, "/logprob", out.logprob);
    out.attributes = file.attributes();
    return out;
}

ScoresFile read_scores(IoThread& io, Path const& path) {
    return io.call([&] { return load_scores(FileReader(path)); });
}

}  // namespace selvage::io
