// SPDX-License-Identifier: Apache-2.0
// Measures the library as the program uses it, and what the machine could do at most; see tests/bench/run.sh.
#include <fmt/core.h>

#include <cstdio>
#include <exception>

#include "base/error.h"
#include "base/log.h"
#include "driver/modes.h"

namespace selvage::bench {
namespace {

int run(MpiSession& mpi, int argc, char** argv) {
    bool help = false;
    Options const options = parse_options(argc, argv, help);
    if (help) {
        if (log::is_root()) fmt::print("{}", help_text());
        return 0;
    }
    using Mode = void (*)(MpiSession&, Options const&);
    for (auto const& [name, mode] : {std::pair<char const*, Mode>{"train", train},
                                     {"generate", generate},
                                     {"ceiling-train", ceiling_train},
                                     {"ceiling-generate", ceiling_generate},
                                     {"ceiling-memory", ceiling_memory},
                                     {"gpu", gpu}})
        if (options.mode == name) {
            mode(mpi, options);
            return 0;
        }
    fail(ExitCode::usage, "\"{}\" is not a mode; see --help", options.mode);
}

}  // namespace
}  // namespace selvage::bench

int main(int argc, char** argv) {
    selvage::MpiSession mpi(argc, argv);
    auto const world = mpi.world();
    selvage::log::set_rank(world->rank(), world->size());
    int code = 0;
    try {
        return selvage::bench::run(mpi, argc, argv);
    } catch (selvage::Error const& error) {
        selvage::log::error("{}", error.what());
        code = static_cast<int>(error.code());
    } catch (std::exception const& error) {
        selvage::log::error("{}", error.what());
        code = static_cast<int>(selvage::ExitCode::internal);
    }
    if (world->size() > 1) mpi.abort(code);
    return code;
}
