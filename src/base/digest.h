// SPDX-License-Identifier: Apache-2.0
#pragma once
// Integrity digests (XXH3, 128 bits). They detect damage, not tampering.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace selvage {

struct Digest {
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    bool operator==(Digest const&) const = default;
    std::string hex() const;  // 32 lower-case digits, high part first
};

Digest digest_of(std::span<std::byte const> bytes);
Digest digest_of(std::string_view text);

class DigestStream {
  public:
    DigestStream();
    ~DigestStream();
    DigestStream(DigestStream const&) = delete;
    DigestStream& operator=(DigestStream const&) = delete;
    void update(void const* data, std::size_t bytes);
    Digest finish() const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace selvage
