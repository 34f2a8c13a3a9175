// SPDX-License-Identifier: Apache-2.0
#include "model/model.h"

namespace selvage {
namespace {

// Elements of one page of one layer: keys, then values.
std::int64_t page_elements(ModelConfig const& config) {
    return 2 * config.kv_heads * config.head_size * kernels::kv_page_tokens;
}

}  // namespace

KvCache::KvCache(Arena& arena, Model const& model, std::int64_t pages, Layers layers)
    : config_(model.local()), pages_(pages) {
    for (std::int64_t layer = 0; layer < (layers == Layers::each ? config_.layers : 1); ++layer)
        layers_.emplace_back(arena, "KV cache", model.compute(), Shape{pages, page_elements(config_)});
}

kernels::KvPages KvCache::layer(std::int64_t layer) const {
    return {layers_[layers_.size() == 1 ? 0 : static_cast<std::size_t>(layer)].view(), config_.kv_heads,
            config_.head_size};
}

std::size_t KvCache::bytes_per_page(ModelConfig const& config, DType compute) {
    return static_cast<std::size_t>(config.layers * page_elements(config)) * size_of(compute);
}

}  // namespace selvage
