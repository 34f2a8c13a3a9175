// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <exception>
#include <string>

#include "base/error.h"
#include "comm/communicator.h"

namespace selvage {

// The second half of agree(): `code` 0 where this rank succeeded.
void agree_on_status(Communicator& communicator, ExitCode code, std::string const& message);

template <class Action>
void agree(Communicator& communicator, Action&& action) {
    ExitCode code = ExitCode::done;
    std::string message;
    try {
        action();
    } catch (Error const& error) {
        code = error.code();
        message = error.what();
    } catch (std::exception const& error) {
        code = ExitCode::internal;
        message = error.what();
    }
    agree_on_status(communicator, code, message);
}

}  // namespace selvage
