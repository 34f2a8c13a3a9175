// SPDX-License-Identifier: Apache-2.0
#pragma once
// The options of a whole job: every module's, with the job's own.
#include <cstdint>
#include <string>

#include "data/corpus.h"
#include "evaluate/evaluator.h"
#include "generate/engine.h"
#include "train/outliers.h"
#include "weave/options.h"

namespace selvage {

struct RunOptions {
    std::int64_t seed = 1;
    std::int64_t rounds = 4;
    std::int64_t schedule_rounds = 0;  // what schedules go by; 0: run.rounds of the first start
    std::string out = "out/run";
    std::string walltime;      // "hh:mm:ss"; the run stops in time, with everything saved; "": no limit
    double hang_minutes = 30;  // no progress for so long ends the job; 0: never
};

struct CheckpointOptions {
    std::int64_t every_steps = 0;  // 0: only between sweeps
    double every_minutes = 15;     // 0: by steps only
    std::int64_t keep = 2;         // newest that stay
    std::int64_t writers = 0;      // ranks that write a checkpoint; 0: one per node
    bool background = true;        // a copy is written while the run goes on
};

struct PrecisionOptions {
    DType compute = DType::f32;  // of the products' operands, see Model; or bf16
    bool batch_invariant = true;
};

struct JobOptions {
    RunOptions run;
    PrecisionOptions precision;
    DataOptions data;
    GenerateOptions generate;
    weave::WeaveOptions weave;
    TrainOptions train;
    OutlierOptions outliers;
    EvaluateOptions evaluate;
    CheckpointOptions checkpoint;
};

}  // namespace selvage
