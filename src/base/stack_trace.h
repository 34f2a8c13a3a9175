// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where another thread of this process is, for a process that hangs.
#include <pthread.h>

#include <string>

namespace selvage {

// One line per function, innermost first; interrupts the thread for it by SIGURG, whose handler stays. A thread that
// does not answer within two seconds gives one line that says so. One call at a time.
std::string stack_of(pthread_t thread);

}  // namespace selvage
