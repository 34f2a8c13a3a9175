// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <fstream>

#include "app/commands/commands.h"
#include "app/run_deck.h"
#include "app/session.h"

namespace selvage {
namespace {

// HDF5 files open with a signature at 0 or behind a user block; a deck is text.
bool is_text(std::string const& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file)
        fail(ExitCode::missing_input, "{} cannot be opened (no such file, or no permission); check the path", path);
    char head[4096];
    file.read(head, sizeof head);
    std::string_view const seen(head, static_cast<std::size_t>(file.gcount()));
    return path.ends_with(".toml") ||
           (!seen.empty() && seen.find('\0') == std::string_view::npos && !path.ends_with(".h5"));
}

int check(MpiSession& mpi, Arguments const& arguments) {
    auto const io = open_io(mpi);
    bool const speaks = mpi.world()->rank() == 0;
    ExitCode worst = ExitCode::done;
    for (std::string const& path : arguments.positional()) {
        try {
            if (is_text(path)) {
                LoadedDeck const loaded = load_deck(path, {}, nullptr);
                if (speaks && arguments.flag("effective")) std::fputs(loaded.deck.effective(true).c_str(), stdout);
            } else {
                io::check_file(*io, path);
            }
            if (speaks && !arguments.flag("effective")) std::printf("%s: good\n", path.c_str());
        } catch (Error const& error) {
            std::string const text = error.what();
            std::string const begin = text.find(path) == std::string::npos ? path + ": " : "";
            if (speaks) std::printf("%s%s\n", begin.c_str(), text.c_str());
            worst = ExitCode::bad_data;
        }
    }
    return static_cast<int>(worst);
}

}  // namespace

Command check_command() {
    return {{"check",
             "FILE...",
             1,
             1 << 20,
             "validates decks and any file of Selvage; runs nothing",
             {{"effective", "", "print every key of a deck with its value and what it is for"}}},
            check};
}

}  // namespace selvage
