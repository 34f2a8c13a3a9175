// SPDX-License-Identifier: Apache-2.0
#include "model/tensor_parts.h"

#include "base/error.h"
#include "model/vocabulary.h"

namespace selvage {
namespace {

constexpr std::int64_t vector_piece = 16;

std::vector<Range> scaled(std::vector<Range> heads, std::int64_t head_size) {
    for (Range& range : heads) range = {range.begin * head_size, range.end * head_size};
    return heads;
}

template <class Split>
std::vector<Range> parts_of(Split const& split) {
    std::vector<Range> parts;
    for (std::int64_t p = 0; p < split.parts(); ++p) parts.push_back(split.part(p));
    return parts;
}

void check_heads(ModelConfig const& config, int ranks) {
    if (config.heads % ranks != 0)
        fail(ExitCode::bad_data,
             "grid.tensor is {}, which does not divide the model's {} heads; set it to a divisor of the heads", ranks,
             config.heads);
    if (config.kv_heads % ranks != 0 && ranks % config.kv_heads != 0)
        fail(ExitCode::bad_data,
             "grid.tensor is {}, and neither divides the model's {} key-value heads nor is a multiple of them", ranks,
             config.kv_heads);
}

// Where there are more ranks than heads, several in a row hold the same one.
std::vector<Range> kv_heads(ModelConfig const& config, int ranks) {
    if (config.kv_heads % ranks == 0) return parts_of(EvenSplit(config.kv_heads, ranks));
    std::vector<Range> parts;
    for (int r = 0; r < ranks; ++r) {
        std::int64_t const head = r * config.kv_heads / ranks;
        parts.push_back({head, head + 1});
    }
    return parts;
}

void check_size(std::int64_t size, int ranks, char const* what) {
    if (size < ranks)
        fail(ExitCode::bad_data, "grid.tensor is {}, more ranks than the model has {} ({}); set it lower", ranks, what,
             size);
}

}  // namespace

TensorParts tensor_parts(ModelConfig const& config, int ranks) {
    if (ranks == 1) {
        Range const query{0, config.heads * config.head_size}, key{0, config.kv_heads * config.head_size};
        return {{query}, {key}, {{0, config.ffn}}, {{0, config.vocabulary}}};
    }
    check_heads(config, ranks);
    check_size(config.ffn, ranks, "columns in an MLP");
    check_size(config.vocabulary, ranks, "ids");
    std::int64_t const piece = config.ffn >= ranks * vector_piece ? vector_piece : 1;
    return {scaled(parts_of(EvenSplit(config.heads, ranks)), config.head_size),
            scaled(kv_heads(config, ranks), config.head_size), parts_of(BlockSplit(config.ffn, piece, ranks)),
            vocabulary_parts(config.vocabulary, ranks)};
}

ModelConfig config_on(ModelConfig const& config, int rank, int ranks) {
    TensorParts const parts = tensor_parts(config, ranks);
    auto const at = static_cast<std::size_t>(rank);
    ModelConfig mine = config;
    mine.heads = parts.query[at].size() / config.head_size;
    mine.kv_heads = parts.key[at].size() / config.head_size;
    mine.ffn = parts.ffn[at].size();
    mine.vocabulary = parts.vocabulary[at].size();
    return mine;
}

}  // namespace selvage
