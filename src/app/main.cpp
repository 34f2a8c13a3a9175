// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "app/command_line.h"
#include "base/error.h"
#include "base/log.h"
#include "sweep/stop.h"

namespace {

// Where every rank failed together the job ends in good order; where one failed alone it takes the others down.
int leave(selvage::MpiSession& mpi, int rank, selvage::ExitCode code, std::string const& message) {
    constexpr double patience = 2;  // seconds
    bool const together = mpi.everyone_arrives(patience);
    if (!together || rank == 0) selvage::log::error("{}", message);
    std::fflush(stdout);
    if (!together) mpi.abort(static_cast<int>(code));
    return static_cast<int>(code);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc > 1 && std::string_view(argv[1]) == "run") selvage::watch_stop_signals();
    selvage::MpiSession mpi(argc, argv);
    int rank = 0;
    {
        auto const world = mpi.world();
        rank = world->rank();
        selvage::log::set_rank(rank, world->size());
    }
    try {
        int const code = selvage::dispatch(mpi, {argv + 1, argv + argc});
        std::fflush(stdout);
        return code;
    } catch (selvage::Error const& error) {
        return leave(mpi, rank, error.code(), error.what());
    } catch (std::bad_alloc const&) {
        return leave(mpi, rank, selvage::ExitCode::system,
                     "out of memory; use a smaller model, batch or cache, or more memory");
    } catch (std::exception const& error) {
        return leave(mpi, rank, selvage::ExitCode::internal, std::string("internal error: ") + error.what());
    }
}
