// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <filesystem>
#include <memory>

#include "comm/communicator.h"

namespace selvage::test {

// The world of this test program; valid inside tests.
std::unique_ptr<Communicator> world();

// The tests/ folder of the source tree.
std::filesystem::path files();

// An empty folder of this test program, made on construction and removed at the end. With several ranks the folder is
// the same on all of them (collective).
class TemporaryFolder {
  public:
    TemporaryFolder();
    ~TemporaryFolder();
    std::filesystem::path const& path() const { return path_; }
    std::filesystem::path operator/(std::string const& name) const { return path_ / name; }

  private:
    std::filesystem::path path_;
};

}  // namespace selvage::test
