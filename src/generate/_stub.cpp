// SPDX-License-Identifier: Apache-2.0
#include "generate/engine.h"
#include "generate/forced.h"
#include "generate/sampler.h"
#include "generate/work_queue.h"
