// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>

namespace selvage {

std::string version();     // "0.1.0"
std::string git_commit();  // 40 hex digits, "+dirty" behind them where the tree was changed; "unknown" outside git

}  // namespace selvage
