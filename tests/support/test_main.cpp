// SPDX-License-Identifier: Apache-2.0
// The main of every test program: MPI around GoogleTest; a failure on any rank fails the program.
#include "support/test_main.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "base/log.h"
#include "comm/mpi_session.h"

namespace selvage::test {
namespace {
MpiSession* session = nullptr;
}

std::unique_ptr<Communicator> world() { return session->world(); }

std::filesystem::path files() {
    char const* const folder = std::getenv("SELVAGE_TEST_FILES");
    return folder != nullptr ? folder : "tests";
}

TemporaryFolder::TemporaryFolder() {
    auto const all = world();
    std::string name;
    if (all->rank() == 0) {
        std::string pattern = (std::filesystem::temp_directory_path() / "selvage-test-XXXXXX").string();
        name = mkdtemp(pattern.data());
    }
    path_ = broadcast_text(*all, name, 0);
}

TemporaryFolder::~TemporaryFolder() {
    auto const all = world();
    all->barrier();
    std::error_code ignored;
    if (all->rank() == 0) std::filesystem::remove_all(path_, ignored);
}

}  // namespace selvage::test

int main(int argc, char** argv) {
    selvage::MpiSession session(argc, argv);
    selvage::test::session = &session;
    testing::InitGoogleTest(&argc, argv);
    auto const world = session.world();
    selvage::log::set_rank(world->rank(), world->size());
    if (world->rank() != 0) {
        auto& listeners = testing::UnitTest::GetInstance()->listeners();
        testing::TestEventListener* const printer = listeners.Release(listeners.default_result_printer());
        // Other ranks print their failures only.
        class FailuresOnly : public testing::EmptyTestEventListener {
            void OnTestPartResult(testing::TestPartResult const& result) override {
                if (result.failed())
                    std::fprintf(stderr, "%s:%d: %s\n", result.file_name(), result.line_number(), result.summary());
            }
        };
        delete printer;
        listeners.Append(new FailuresOnly);
    }
    int const failed = RUN_ALL_TESTS();
    return selvage::max_over(*world, failed) == 0 ? 0 : 1;
}
