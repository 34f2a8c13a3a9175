// SPDX-License-Identifier: Apache-2.0
#include "text/sentencepiece.h"

#include <sentencepiece_processor.h>

#include <utility>

#include "base/error.h"

namespace selvage::text {
namespace {

// U+2581, which sentencepiece puts for a space.
constexpr std::string_view space_mark = "\xe2\x96\x81";

std::string with_spaces(std::string const& piece) {
    std::string bytes;
    for (std::size_t i = 0; i < piece.size();) {
        if (piece.compare(i, space_mark.size(), space_mark) == 0) {
            bytes += ' ';
            i += space_mark.size();
        } else {
            bytes += piece[i++];
        }
    }
    return bytes;
}

std::string piece_bytes(sentencepiece::SentencePieceProcessor const& processor, int id) {
    if (processor.IsControl(id) || processor.IsUnknown(id) || processor.IsUnused(id)) return {};
    std::string const& piece = processor.IdToPiece(id);
    if (processor.IsByte(id))  // "<0xNN>"
        return std::string(1, static_cast<char>(std::stoi(piece.substr(3, 2), nullptr, 16)));
    return with_spaces(piece);
}

class SentencePieceTokenizer final : public Tokenizer {
  public:
    SentencePieceTokenizer(std::string model, std::string const& where) {
        // protobuf takes an empty string for an empty message, so that is refused here.
        auto const status = processor_.LoadFromSerializedProto(model);
        if (model.empty() || !status.ok() || processor_.GetPieceSize() <= 0)
            fail(
                ExitCode::bad_data,
                "{}: not a sentencepiece model (damaged, or another kind of file); give the .model file that spm_train "
                "wrote, or the name bytes",
                where);
        if (processor_.eos_id() < 0)
            fail(ExitCode::bad_data,
                 "{}: the sentencepiece model has no end-of-sentence piece, which is needed to end an answer; train it "
                 "without --eos_id=-1",
                 where);
        table_.kind = "sentencepiece";
        table_.model = std::move(model);
        table_.special = {processor_.eos_id(), processor_.bos_id(), processor_.pad_id()};
        for (int id = 0; id < processor_.GetPieceSize(); ++id) table_.pieces.push_back(piece_bytes(processor_, id));
        std::vector<std::string> probe;
        if (processor_.Encode("a", &probe).ok() && !probe.empty()) adds_prefix_ = probe.front().starts_with(space_mark);
    }

    std::vector<Token> encode(std::string_view text) const override {
        std::vector<int> ids;
        auto const status = processor_.Encode(text, &ids);
        if (!status.ok())
            fail(ExitCode::bad_data, "sentencepiece cannot encode a text of {} bytes: {}", text.size(),
                 status.ToString());
        return {ids.begin(), ids.end()};
    }

    // A model that puts a space in front of every text gets it taken away again.
    std::string decode(std::span<Token const> tokens) const override {
        std::string text = join_pieces(table_, tokens);
        if (adds_prefix_ && text.starts_with(' ')) text.erase(0, 1);
        return text;
    }

    TokenizerTable const& table() const override { return table_; }

  private:
    sentencepiece::SentencePieceProcessor processor_;
    TokenizerTable table_;
    bool adds_prefix_ = false;
};

}  // namespace

std::unique_ptr<Tokenizer> make_sentencepiece(std::string model, std::string const& where) {
    return std::make_unique<SentencePieceTokenizer>(std::move(model), where);
}

}  // namespace selvage::text
