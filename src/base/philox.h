// SPDX-License-Identifier: Apache-2.0
#pragma once
// Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
// No generator carries state: every draw is a pure function of (seed, purpose, where it is used).
#include <array>
#include <cstdint>

namespace selvage {

using PhiloxCounter = std::array<std::uint32_t, 4>;
using PhiloxKey = std::array<std::uint32_t, 2>;

constexpr PhiloxCounter philox4x32(PhiloxCounter counter, PhiloxKey key) {
    for (int round = 0; round < 10; ++round) {
        std::uint64_t const a = std::uint64_t{0xD2511F53u} * counter[0];
        std::uint64_t const b = std::uint64_t{0xCD9E8D57u} * counter[2];
        counter = {static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
                   static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
        key[0] += 0x9E3779B9u;
        key[1] += 0xBB67AE85u;
    }
    return counter;
}

// What a stream of random numbers is for. The values are part of the determinism contract: never renumber.
enum class Purpose : std::uint32_t {
    initialise = 1,       // weights
    data_order = 2,       // permutation of the corpus
    train_order = 3,      // permutation of a woven file
    sample = 4,           // drafts of a generation sweep
    bash_coin = 5,        // gold or own token
    rac_keep = 6,         // which right drafts stay under keep = wrong+some
    method = 7,           // BASH or RAC under method = both
    evaluate_sample = 8,  // sampled drafts of an evaluation sweep
    bootstrap = 9,        // confidence intervals
    chance = 10,          // the other example of chance_agreement
    test = 11,
};

// Where a draw is used. `example` is the row in the data, `position` a token position, `draw` counts several draws
// at one place.
struct DrawIndex {
    std::uint32_t round = 0;
    std::uint32_t example = 0;
    std::uint32_t position = 0;
    std::uint16_t sample = 0;
    std::uint8_t turn = 0;
    std::uint8_t draw = 0;
};

class Random {
  public:
    constexpr Random(std::uint64_t seed, Purpose purpose)
        : key_{static_cast<std::uint32_t>(seed),
               static_cast<std::uint32_t>(seed >> 32) ^ static_cast<std::uint32_t>(purpose)} {}

    constexpr PhiloxCounter words(DrawIndex at) const {
        return philox4x32(
            {at.round, at.example, at.position, std::uint32_t{at.sample} << 16 | std::uint32_t{at.turn} << 8 | at.draw},
            key_);
    }
    constexpr std::uint64_t bits(DrawIndex at) const {
        PhiloxCounter const w = words(at);
        return std::uint64_t{w[1]} << 32 | w[0];
    }
    // In [0, 1), 53 bits.
    constexpr double uniform(DrawIndex at) const { return static_cast<double>(bits(at) >> 11) * 0x1.0p-53; }

  private:
    PhiloxKey key_;
};

// FNV-1a, for keys made of names (weight initialisation, data order). Not for integrity.
constexpr std::uint64_t name_hash(char const* text, std::size_t length) {
    std::uint64_t hash = 14695981039346656037ull;
    for (std::size_t i = 0; i < length; ++i) hash = (hash ^ static_cast<unsigned char>(text[i])) * 1099511628211ull;
    return hash;
}

}  // namespace selvage
