// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "comm/process_grid.h"
#include "io/run_log.h"
#include "sweep/options.h"

namespace selvage {

// Mean negative log-likelihood of a validation answer's token under teacher forcing, with its 95% interval, over
// evaluate.examples of the examples (0: all). Nothing is reported of them, so choices may be made by it. Collective
// over the data axis; the value is on rank 0, and does not depend on the ranks.
io::MetricValue validation_nll(Arena& arena, ProcessGrid const& grid, Model& model, Corpus const& validation,
                               JobOptions const& options);

}  // namespace selvage
