// SPDX-License-Identifier: Apache-2.0
#include "sweep/peak_memory.h"

#include <algorithm>
#include <map>

#include "base/bytes.h"

namespace selvage {

std::vector<io::MemoryRow> peak_memory(Communicator& ranks, Arena const& arena) {
    ByteWriter writer;
    for (auto const& [name, bytes] : arena.peaks()) {
        writer.list(std::vector<char>(name.begin(), name.end()));
        writer.value(static_cast<std::int64_t>(bytes));
    }
    std::map<std::string, std::int64_t> most;
    for (auto const& part : gather_bytes(ranks, writer.bytes(), 0)) {
        ByteReader reader(part);
        while (!reader.at_end()) {
            std::vector<char> name;
            std::int64_t bytes = 0;
            reader.list(name);
            reader.value(bytes);
            std::int64_t& known = most[std::string(name.begin(), name.end())];
            known = std::max(known, bytes);
        }
    }
    std::vector<io::MemoryRow> rows;
    for (auto const& [name, bytes] : most) rows.push_back({name, bytes});
    std::stable_sort(rows.begin(), rows.end(), [](auto const& a, auto const& b) { return a.bytes > b.bytes; });
    return rows;
}

}  // namespace selvage
