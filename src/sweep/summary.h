// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>

#include "io/run_log.h"
#include "sweep/options.h"

namespace selvage {

// "none", "bash", "rac", "both"
std::string name_of(weave::WeaveMethod method);

// What the log says of an evaluation. Rank 0.
std::string evaluation_text(io::EvaluationRow const& row);

// The table that closes a run, from the rows of run.h5: a line per evaluation with what was trained before it.
std::string summary_table(io::RunLog const& log, weave::WeaveOptions const& options);

}  // namespace selvage
