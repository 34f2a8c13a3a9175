// SPDX-License-Identifier: Apache-2.0
#include "text/utf8.h"

#include <algorithm>

namespace selvage {

std::size_t whole_characters(std::string_view text) {
    auto const byte = [&](std::size_t back) { return static_cast<unsigned char>(text[text.size() - back]); };
    for (std::size_t back = 1; back <= std::min<std::size_t>(3, text.size()); ++back) {
        if (byte(back) >= 0x80 && byte(back) < 0xc0) continue;  // not a first byte
        std::size_t const length = byte(back) < 0xc2 || byte(back) > 0xf4 ? 1
                                   : byte(back) < 0xe0                    ? 2
                                   : byte(back) < 0xf0                    ? 3
                                                                          : 4;
        return back < length ? text.size() - back : text.size();
    }
    return text.size();
}

}  // namespace selvage
