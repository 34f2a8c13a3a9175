// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"

namespace selvage {

void fail_check(char const* condition, char const* file, int line, std::string const& message) {
    throw Error(ExitCode::internal,
                fmt::format("internal check failed: {} ({}) at {}:{}; this is a bug in Selvage, please report it",
                            message, condition, file, line));
}

}  // namespace selvage
