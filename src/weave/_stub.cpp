// SPDX-License-Identifier: Apache-2.0
#include "weave/bash.h"
#include "weave/options.h"
#include "weave/rac.h"
#include "weave/weave.h"
