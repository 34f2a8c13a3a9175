// SPDX-License-Identifier: Apache-2.0
#include "data/corpus.h"
#include "data/packing.h"
#include "data/prepare.h"
