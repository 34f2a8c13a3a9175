// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>
#include <tuple>

#include "io/contents.h"
#include "io/file_writer.h"
#include "io/tokenizer_group.h"

namespace selvage::io {
namespace {

auto key(Draft const& draft) { return std::tuple(draft.example, draft.sample, draft.turn); }

struct Columns {
    std::vector<Token> tokens;
    std::vector<std::int64_t> offsets = {0};
    std::vector<std::int64_t> example;
    std::vector<std::int32_t> sample, turn;
    std::vector<float> logprob, sampled_logprob;
    std::vector<std::uint8_t> finish_reason;
};

Columns columns_from(std::vector<Draft> const& drafts) {
    Columns c;
    for (std::size_t i = 0; i < drafts.size(); ++i) {
        Draft const& draft = drafts[i];
        SELVAGE_CHECK(
            draft.logprob.size() == draft.tokens.size() && draft.sampled_logprob.size() == draft.tokens.size(),
            "draft {} has {} tokens, {} and {} log-probabilities", i, draft.tokens.size(), draft.logprob.size(),
            draft.sampled_logprob.size());
        SELVAGE_CHECK(i == 0 || key(drafts[i - 1]) <= key(draft), "draft {} is out of order", i);
        c.tokens.insert(c.tokens.end(), draft.tokens.begin(), draft.tokens.end());
        c.logprob.insert(c.logprob.end(), draft.logprob.begin(), draft.logprob.end());
        c.sampled_logprob.insert(c.sampled_logprob.end(), draft.sampled_logprob.begin(), draft.sampled_logprob.end());
        c.offsets.push_back(static_cast<std::int64_t>(c.tokens.size()));
        c.example.push_back(draft.example);
        c.sample.push_back(draft.sample);
        c.turn.push_back(draft.turn);
        c.finish_reason.push_back(static_cast<std::uint8_t>(draft.finish));
    }
    return c;
}

}  // namespace

void write_drafts(IoThread& io, Path const& path, DraftsFile const& file) {
    io.call([&] {
        Columns const c = columns_from(file.drafts);
        auto const bytes = static_cast<std::int64_t>(12 * c.tokens.size() + 25 * c.offsets.size() + file.deck.size());
        FileWriter out(path, "selvage-drafts", {nullptr, expected_file_bytes(bytes, 8)});
        out.root_attributes(file.deck, file.attributes);
        out.column("/tokens", c.tokens);
        out.column("/offsets", c.offsets);
        out.column("/example", c.example);
        out.column("/sample", c.sample);
        out.column("/turn", c.turn);
        out.column("/logprob", c.logprob);
        out.column("/sampled_logprob", c.sampled_logprob);
        out.column("/finish_reason", c.finish_reason);
        out.commit();
    });
}

DraftsFile load_drafts(FileReader const& file) {
    file.expect("selvage-drafts");
    Columns c;
    c.tokens = file.values<Token>("/tokens");
    c.offsets = file.values<std::int64_t>("/offsets");
    c.example = file.values<std::int64_t>("/example");
    c.sample = file.values<std::int32_t>("/sample");
    c.turn = file.values<std::int32_t>("/turn");
    c.logprob = file.values<float>("/logprob");
    c.sampled_logprob = file.values<float>("/sampled_logprob");
    c.finish_reason = file.values<std::uint8_t>("/finish_reason");
    check_offsets(file, "/offsets", c.offsets, c.tokens.size());
    std::size_t const drafts = c.offsets.size() - 1;
    check_length(file, "/example", c.example.size(), drafts);
    check_length(file, "/sample", c.sample.size(), drafts);
    check_length(file, "/turn", c.turn.size(), drafts);
    check_length(file, "/finish_reason", c.finish_reason.size(), drafts);
    check_length(file, "/logprob", c.logprob.size(), c.tokens.size());
    check_length(file, "/sampled_logprob", c.sampled_logprob.size(), c.tokens.size());
    check_range(file, "/tokens", c.tokens, 0, std::numeric_limits<Token>::max());
    check_range(file, "/finish_reason", c.finish_reason, 0, 2);
    check_finite<float>(file, "/logprob", c.logprob);
    check_finite<float>(file, "/sampled_logprob", c.sampled_logprob);

    DraftsFile out;
    out.deck = file.deck();
    out.attributes = file.attributes();
    out.drafts.resize(drafts);
    for (std::size_t i = 0; i < drafts; ++i) {
        Draft& draft = out.drafts[i];
        auto const begin = c.offsets[i], end = c.offsets[i + 1];
        draft.example = c.example[i];
        draft.sample = c.sample[i];
        draft.turn = c.turn[i];
        draft.finish = static_cast<FinishReason>(c.finish_reason[i]);
        draft.tokens.assign(c.tokens.begin() + begin, c.tokens.begin() + end);
        draft.logprob.assign(c.logprob.begin() + begin, c.logprob.begin() + end);
        draft.sampled_logprob.assign(c.sampled_logprob.begin() + begin, c.sampled_logprob.begin() + end);
        if (i > 0 && key(draft) < key(out.drafts[i - 1]))
            file.fail_at("/example", fmt::format("out of order at {}", i));
    }
    return out;
}

DraftsFile read_drafts(IoThread& io, Path const& path) {
    return io.call([&] { return load_drafts(FileReader(path)); });
}

}  // namespace selvage::io
