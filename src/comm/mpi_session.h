// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <filesystem>
#include <memory>
#include <string>

#include "comm/communicator.h"

namespace selvage {

// MPI from construction to destruction: one per process, made by main (and the tests' main).
class MpiSession {
  public:
    // Asks for MPI_THREAD_MULTIPLE; has_threads() says whether it was given.
    MpiSession(int& argc, char**& argv);
    ~MpiSession();
    MpiSession(MpiSession const&) = delete;
    MpiSession& operator=(MpiSession const&) = delete;

    bool has_threads() const { return has_threads_; }
    std::unique_ptr<Communicator> world();
    // True if every rank calls this within `seconds` of each other (a barrier with a time limit; once, on the way out).
    bool everyone_arrives(double seconds);
    // Ends all ranks with this code; does not return.
    [[noreturn]] void abort(int code);
    static std::string library_version();

  private:
    std::filesystem::path session_folder_;  // of Open MPI; empty: not ours
    bool has_threads_ = false;
};

}  // namespace selvage
