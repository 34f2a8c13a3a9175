// SPDX-License-Identifier: Apache-2.0
#include "base/digest.h"

#include <fmt/core.h>
#include <xxhash.h>

#include <new>

namespace selvage {
namespace {
Digest from(XXH128_hash_t hash) { return {hash.low64, hash.high64}; }
}  // namespace

std::string Digest::hex() const { return fmt::format("{:016x}{:016x}", high, low); }

Digest digest_of(std::span<std::byte const> bytes) { return from(XXH3_128bits(bytes.data(), bytes.size())); }

Digest digest_of(std::string_view text) { return from(XXH3_128bits(text.data(), text.size())); }

struct DigestStream::State {
    XXH3_state_t* xxh = XXH3_createState();
    State() {
        if (xxh == nullptr) throw std::bad_alloc();
        XXH3_128bits_reset(xxh);
    }
    ~State() { XXH3_freeState(xxh); }
};

DigestStream::DigestStream() : state_(std::make_unique<State>()) {}
DigestStream::~DigestStream() = default;
void DigestStream::update(void const* data, std::size_t bytes) { XXH3_128bits_update(state_->xxh, data, bytes); }
Digest DigestStream::finish() const { return from(XXH3_128bits_digest(state_->xxh)); }

}  // namespace selvage
