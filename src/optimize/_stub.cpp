// SPDX-License-Identifier: Apache-2.0
#include "optimize/options.h"
#include "optimize/sharded_adamw.h"
