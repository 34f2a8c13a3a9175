// SPDX-License-Identifier: Apache-2.0
#include "base/build_info.h"

#include "selvage_build_info.h"  // written at build time

namespace selvage {

std::string version() { return SELVAGE_VERSION; }
std::string git_commit() { return SELVAGE_GIT_COMMIT; }

}  // namespace selvage
