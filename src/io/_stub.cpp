// SPDX-License-Identifier: Apache-2.0
#include "io/files.h"
#include "io/folder_lock.h"
#include "io/io_thread.h"
#include "io/run_log.h"
