// SPDX-License-Identifier: Apache-2.0
#include "deck/deck.h"
