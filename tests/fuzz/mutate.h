// SPDX-License-Identifier: Apache-2.0
#pragma once
// Mutations of valid inputs. Case n of a seed is always the same bytes.
#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace selvage::fuzz {

struct Corpus {
    std::vector<std::string> seeds;       // valid inputs, at least one
    std::vector<std::string> dictionary;  // pieces worth inserting
    int most_changes = 8;
    // Where a case crashes or hangs inside this library, it is counted and shown, but is no finding: for bugs that are
    // another project's. Empty: none.
    std::string library = {};
};

class Mutator {
  public:
    Mutator(Corpus const& corpus, std::uint64_t seed, std::uint64_t number)
        : corpus_(corpus), engine_(seed * 0x9E3779B97F4A7C15ull + number) {}

    std::string make() {
        std::string text = corpus_.seeds[below(corpus_.seeds.size())];
        std::size_t const changes = 1 + below(1 + below(static_cast<std::size_t>(corpus_.most_changes)));
        for (std::size_t i = 0; i < changes; ++i) change(text);
        return text;
    }

  private:
    std::size_t below(std::size_t limit) { return limit == 0 ? 0 : static_cast<std::size_t>(engine_() % limit); }
    char byte() { return static_cast<char>(engine_()); }

    void change(std::string& text) {
        std::size_t const at = below(text.size() + 1);
        std::size_t const rest = text.size() - at;
        switch (below(9)) {
            case 0:  // one bit
                if (rest > 0) text[at] = static_cast<char>(text[at] ^ (1 << below(8)));
                break;
            case 1:  // one byte
                if (rest > 0) text[at] = byte();
                break;
            case 2:
                text.erase(at, 1 + below(std::min<std::size_t>(rest, 16)));
                break;
            case 3:
                text.insert(at, text.substr(at, 1 + below(std::min<std::size_t>(rest, 64))));
                break;
            case 4:
                text.insert(at, 1 + below(4), byte());
                break;
            case 5:
                if (!corpus_.dictionary.empty()) text.insert(at, corpus_.dictionary[below(corpus_.dictionary.size())]);
                break;
            case 6:  // a number that is at an edge, over 1 to 8 bytes
                overwrite(text, at);
                break;
            case 7: {  // the end of another input
                std::string const& other = corpus_.seeds[below(corpus_.seeds.size())];
                text = text.substr(0, at) + other.substr(below(other.size() + 1));
                break;
            }
            default:
                if (below(4) == 0) text.resize(at);
                break;
        }
    }

    void overwrite(std::string& text, std::size_t at) {
        static std::uint64_t const edges[] = {0,
                                              1,
                                              0x7f,
                                              0x80,
                                              0xff,
                                              0x7fff,
                                              0xffff,
                                              0x7fffffff,
                                              0x80000000,
                                              0xffffffff,
                                              0x7fffffffffffffff,
                                              0x8000000000000000,
                                              ~0ull};
        std::uint64_t const value = edges[below(std::size(edges))];
        std::size_t const width = std::size_t{1} << below(4);
        for (std::size_t i = 0; i < width && at + i < text.size(); ++i)
            text[at + i] = static_cast<char>(value >> (8 * i));
    }

    Corpus const& corpus_;
    std::mt19937_64 engine_;
};

}  // namespace selvage::fuzz
