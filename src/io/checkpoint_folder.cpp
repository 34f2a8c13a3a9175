// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <system_error>

#include "base/log.h"
#include "io/files.h"

namespace selvage::io {
namespace {

// The number in step-NNNNNNNN.h5; -1 for any other name.
std::int64_t step_of(std::string const& name) {
    std::string const prefix = "step-", suffix = ".h5";
    if (name.size() < prefix.size() + 8 + suffix.size() || !name.starts_with(prefix) || !name.ends_with(suffix))
        return -1;
    std::int64_t step = -1;
    char const* const first = name.data() + prefix.size();
    char const* const last = name.data() + name.size() - suffix.size();
    auto const [end, error] = std::from_chars(first, last, step);
    return error == std::errc() && end == last ? step : -1;
}

}  // namespace

Path checkpoint_path(Path const& folder, std::int64_t step) { return folder / fmt::format("step-{:08}.h5", step); }

Path round_path(Path const& folder, std::int64_t round) { return folder / fmt::format("round-{:04}.h5", round); }

std::vector<Path> list_checkpoints(Path const& folder) {
    std::vector<std::pair<std::int64_t, Path>> found;
    std::error_code error;
    for (auto const& entry : std::filesystem::directory_iterator(folder, error))
        if (std::int64_t const step = step_of(entry.path().filename().string()); step >= 0)
            found.emplace_back(step, entry.path());
    std::sort(found.begin(), found.end(), [](auto const& a, auto const& b) { return a > b; });
    std::vector<Path> paths;
    for (auto& [step, path] : found) paths.push_back(std::move(path));
    return paths;
}

std::optional<Path> newest_valid_checkpoint(IoThread& io, Path const& folder, std::vector<std::string>* problems) {
    for (Path const& path : list_checkpoints(folder)) {
        try {
            read_checkpoint_info(io, path);
            return path;
        } catch (Error const& error) {
            if (error.code() == ExitCode::internal) throw;
            if (problems != nullptr) problems->emplace_back(error.what());
        }
    }
    return std::nullopt;
}

void remove_old_checkpoints(Path const& folder, std::int64_t keep) {
    std::vector<Path> const paths = list_checkpoints(folder);
    for (std::size_t i = static_cast<std::size_t>(std::max<std::int64_t>(1, keep)); i < paths.size(); ++i) {
        std::error_code error;
        std::filesystem::remove(paths[i], error);
        if (error) log::warning("cannot remove the old checkpoint {} ({})", paths[i].string(), error.message());
    }
}

std::int64_t free_disk_bytes(Path const& path) {
    std::error_code error;
    Path at = std::filesystem::absolute(path, error);
    while (!error && !std::filesystem::exists(at, error) && at.has_relative_path()) at = at.parent_path();
    auto const space = std::filesystem::space(at, error);
    return error ? -1 : static_cast<std::int64_t>(space.available);
}

}  // namespace selvage::io
