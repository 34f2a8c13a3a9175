// SPDX-License-Identifier: Apache-2.0
#include "app/resume.h"

#include <algorithm>

#include "base/log.h"
#include "deck/deck.h"

namespace selvage {
namespace {

namespace fs = std::filesystem;

// Everything is checked that the run will read: the checkpoint, and in a training sweep the woven file.
std::optional<Start> try_checkpoint(io::IoThread& io, io::Path const& path, io::Path const& folder) {
    try {
        io::CheckpointInfo const info = io::read_checkpoint_info(io, path);
        if (info.state.phase == io::Phase::train)
            io::read_woven(io, io::round_path(folder / "woven", info.state.round));
        return Start{path, info.state, info.deck, {}};
    } catch (Error const& error) {
        log::warning("passing over {}: {}", path.string(), error.what());
        return std::nullopt;
    }
}

std::vector<io::Path> everything_in(io::Path const& folder) {
    return {folder / "run.h5", folder / "drafts", folder / "woven", folder / "checkpoints", folder / "journal"};
}

bool may_differ(std::string const& key) {
    constexpr char const* free_keys[] = {"run.out",          "run.walltime",      "run.hang_minutes",
                                         "run.rounds",       "train.shard",       "train.threads_per_rank",
                                         "generate.streams", "generate.cache_mib"};
    if (key.starts_with("grid.") || key.starts_with("checkpoint.")) return true;
    return std::find(std::begin(free_keys), std::end(free_keys), key) != std::end(free_keys);
}

}  // namespace

Start choose_start(io::IoThread& io, io::Path const& folder, std::string const& choice) {
    auto const checkpoints = io::list_checkpoints(folder / "checkpoints");
    if (choice == "never") {
        Start start;
        start.to_set_aside = everything_in(folder);
        return start;
    }
    if (choice == "auto") {
        for (io::Path const& path : checkpoints)
            if (auto const start = try_checkpoint(io, path, folder)) return *start;
        if (!checkpoints.empty())
            fail(ExitCode::bad_data,
                 "none of the {} checkpoints in {} can be read (see the warnings above); start again with --resume "
                 "never",
                 checkpoints.size(), (folder / "checkpoints").string());
        return {};
    }
    io::Path const named = fs::absolute(choice);
    if (!fs::exists(named))
        fail(ExitCode::missing_input, "--resume {}: no such file; give auto, never, or the path of a checkpoint",
             choice);
    io::CheckpointInfo const info = io::read_checkpoint_info(io, named);
    bool const is_here = std::any_of(checkpoints.begin(), checkpoints.end(),
                                     [&](io::Path const& path) { return fs::equivalent(path, named); });
    if (!is_here) {
        if (info.state.phase == io::Phase::train)
            fail(ExitCode::bad_data,
                 "{} is from the middle of a training sweep, whose woven file is not in {}; go on in its own output "
                 "folder, or "
                 "take a checkpoint from between two sweeps",
                 named.string(), folder.string());
        return {named, info.state, info.deck, everything_in(folder)};
    }
    if (info.state.phase == io::Phase::train) io::read_woven(io, io::round_path(folder / "woven", info.state.round));
    std::vector<io::Path> newer;
    for (io::Path const& path : checkpoints) {
        if (fs::equivalent(path, named)) break;
        newer.push_back(path);
    }
    return {named, info.state, info.deck, newer};
}

void set_aside(std::vector<io::Path> const& paths, io::Path const& folder) {
    std::vector<io::Path> present;
    std::copy_if(paths.begin(), paths.end(), std::back_inserter(present),
                 [](io::Path const& path) { return fs::exists(path); });
    if (present.empty()) return;
    int number = 1;
    while (fs::exists(folder / fmt::format("previous-{}", number))) ++number;
    io::Path const aside = folder / fmt::format("previous-{}", number);
    for (io::Path const& path : present) {
        io::Path const to = aside / fs::relative(path, folder);
        std::error_code error;
        fs::create_directories(to.parent_path(), error);
        fs::rename(path, to, error);
        if (error)
            fail(ExitCode::io, "cannot move {} to {} ({}); move it yourself, or use another --out", path.string(),
                 to.string(), error.message());
    }
    log::info("what was in {} of an earlier run is now in {}", folder.string(), aside.string());
}

void remove_unfinished(io::Path const& folder) {
    int count = 0;
    for (io::Path const& place : {folder, folder / "drafts", folder / "woven", folder / "checkpoints"}) {
        std::error_code error;
        std::vector<io::Path> found;
        for (auto const& entry : fs::directory_iterator(place, error))
            if (entry.path().filename().string().ends_with(".h5.partial")) found.push_back(entry.path());
        for (io::Path const& path : found) count += fs::remove(path, error) ? 1 : 0;
    }
    if (count > 0) log::info("removed {} unfinished file(s) of an earlier job in {}", count, folder.string());
}

std::string lasting_part(std::string const& deck) {
    std::string text;
    for (auto const& [key, value] : keys_of(deck))
        if (!may_differ(key)) text += key + " = " + value + "\n";
    return text;
}

void check_same_deck(std::string const& old_deck, std::string const& new_deck, io::Path const& checkpoint) {
    std::string keys;
    for (std::string const& key : differing_keys(old_deck, new_deck))
        if (!may_differ(key)) keys += (keys.empty() ? "" : ", ") + key;
    if (!keys.empty())
        fail(ExitCode::bad_data,
             "the deck differs from that of {} in {}; set it back, or use another --out, or --resume never to start "
             "again (selvage info shows "
             "the checkpoint's deck)",
             checkpoint.string(), keys);
}

}  // namespace selvage
