// SPDX-License-Identifier: Apache-2.0
#include "train/trainer.h"
