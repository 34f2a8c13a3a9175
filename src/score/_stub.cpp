// SPDX-License-Identifier: Apache-2.0
#include "score/match.h"
#include "score/rouge.h"
