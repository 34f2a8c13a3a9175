// SPDX-License-Identifier: Apache-2.0
#include "model/model.h"
#include "model/model_config.h"
