// SPDX-License-Identifier: Apache-2.0
#include "app/commands/commands.h"

#include <fmt/core.h>

#include "base/build_info.h"
#include "io/files.h"
#include "kernels/gemm.h"

namespace selvage {

std::vector<Command> all_commands() {
    return {run_command(),   check_command(), prepare_command(), generate_command(), evaluate_command(),
            score_command(), info_command(),  import_command(),  export_command()};
}

std::string version_text() {
    kernels::GemmReport const& gemm = kernels::choose_gemm();
    return fmt::format("selvage {}\ncommit {}\nMPI {}\nHDF5 {}\nproducts {}\ninstruction set {}\n", version(),
                       git_commit(), MpiSession::library_version(), io::hdf5_version(), gemm.library,
                       gemm.instruction_set);
}

}  // namespace selvage
