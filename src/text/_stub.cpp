// SPDX-License-Identifier: Apache-2.0
#include "text/records.h"
#include "text/tokenizer.h"
