// SPDX-License-Identifier: Apache-2.0
#include "comm/mpi_session.h"

#include <mpi.h>

#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <thread>

#include "base/timer.h"
#include "comm/mpi/mpi_communicator.h"

namespace selvage {
namespace {

// Programs that run without a launcher share one session folder under Open MPI 4, and one that ends can take it from
// under another that starts, which then aborts. So such a program gets a folder of its own; other libraries do not
// look. Empty where a launcher or the user has set things up.
std::filesystem::path own_session_folder() {
    for (char const* const name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "OMPI_MCA_orte_tmpdir_base"})
        if (std::getenv(name) != nullptr) return {};
    std::error_code error;
    std::filesystem::path const parent = std::filesystem::temp_directory_path(error);
    std::string pattern = (parent / "selvage-mpi-XXXXXX").string();
    if (error || mkdtemp(pattern.data()) == nullptr) return {};
    setenv("OMPI_MCA_orte_tmpdir_base", pattern.c_str(), 1);
    return pattern;
}

void drop(std::filesystem::path const& folder) {
    std::error_code ignored;
    if (!folder.empty()) std::filesystem::remove_all(folder, ignored);
}

}  // namespace

MpiSession::MpiSession(int& argc, char**& argv) : session_folder_(own_session_folder()) {
    int provided = 0;
    check_mpi(MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
    has_threads_ = provided == MPI_THREAD_MULTIPLE;
}

MpiSession::~MpiSession() {
    MPI_Finalize();
    drop(session_folder_);
}

std::unique_ptr<Communicator> MpiSession::world() {
    MPI_Comm copy = MPI_COMM_NULL;
    check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &copy), "MPI_Comm_dup");
    return std::make_unique<MpiCommunicator>(copy);
}

bool MpiSession::everyone_arrives(double seconds) {
    MPI_Request request = MPI_REQUEST_NULL;
    if (MPI_Ibarrier(MPI_COMM_WORLD, &request) != MPI_SUCCESS) return false;
    Timer const timer;
    int done = 0;
    while (done == 0 && timer.seconds() < seconds) {
        if (MPI_Test(&request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return done != 0;
}

void MpiSession::abort(int code) {
    drop(session_folder_);
    MPI_Abort(MPI_COMM_WORLD, code);
    std::_Exit(code);
}

std::string MpiSession::library_version() {
    char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;
    MPI_Get_library_version(text, &length);
    std::string const all(text, static_cast<std::size_t>(length));
    return all.substr(0, all.find(','));
}

}  // namespace selvage
