// SPDX-License-Identifier: Apache-2.0
#pragma once
// Private to huggingface.
#include <filesystem>

#include "base/error.h"

namespace selvage::huggingface {

// What std::filesystem throws, as Error(io).
template <class Action>
void as_io_error(Action&& action) {
    try {
        action();
    } catch (std::filesystem::filesystem_error const& error) {
        fail(ExitCode::io, "{} ({}); check the path, its permissions and the disk", error.path1().string(),
             error.code().message());
    }
}

}  // namespace selvage::huggingface
