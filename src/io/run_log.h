// SPDX-License-Identifier: Apache-2.0
#pragma once
// run.h5 ("selvage-run"): tables of the run, kept in memory on rank 0 and written whole at each flush.
#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "io/files.h"

namespace selvage::io {

struct StepRow {
    std::int64_t step = 0;
    std::int64_t round = 0;
    double loss = 0;  // mean over the step's loss weights, nats per target token
    double grad_norm = 0;
    double learning_rate = 0;
    std::int64_t target_tokens = 0;
    double seconds = 0;        // volatile
    std::uint8_t skipped = 0;  // 1: an outlier, the weights stayed as they were (train.on_outlier)
};
struct SweepRow {
    std::string kind;  // "generate", "weave", "train", "evaluate", "checkpoint"
    std::int64_t round = 0;
    std::int64_t tokens = 0;
    std::int64_t examples = 0;
    std::int64_t repeated = 0;              // train: uses of a row beyond its first
    std::int64_t left_over = 0;             // train: rows not used
    double seconds = 0;                     // volatile
    double busy = 0;                        // volatile: seconds of work over all ranks / (ranks * seconds)
    std::vector<double> busy_by_rank = {};  // volatile: the same for each rank; empty where it was not measured
    double communication = 0;  // volatile; train: share of the ranks' time in communication that nothing hid
};
// One evaluation of one metric; low and high are the 95% interval. by_position may be empty; NaN where nothing counts.
struct MetricValue {
    double value = 0;
    double low = 0;
    double high = 0;
    std::vector<double> by_position;
    std::vector<std::int64_t> count_by_position;
};
struct EvaluationRow {
    std::int64_t step = 0;
    std::int64_t round = 0;
    std::map<std::string, MetricValue> metrics;
};

// A checkpoint that was written; which ones were depends on when the run was stopped, so all of it is volatile.
struct CheckpointRow {
    std::int64_t step = 0;
    std::int64_t bytes = 0;
    double stall_seconds = 0;  // that the run waited for it
    double write_seconds = 0;  // from the copy to the renamed file
};

// The most that the blocks of one name took at a time, on the rank where that was most.
struct MemoryRow {
    std::string name;
    std::int64_t bytes = 0;
};

class RunLog {
  public:
    // Rank 0 alone. Starts from an existing file cut back to `rows` (a RunState's table_rows), or empty where `path`
    // does not exist or `rows` is empty; events and checkpoints are always kept.
    RunLog(IoThread& io, Path path, std::string deck, std::map<std::string, std::int64_t> const& rows);

    void add(StepRow const& row);
    void add(SweepRow const& row);
    void add(EvaluationRow row);
    void add(CheckpointRow const& row) { checkpoints_.push_back(row); }
    void event(std::string const& kind, std::string const& text);
    void set_memory(std::vector<MemoryRow> rows) { memory_ = std::move(rows); }
    std::vector<StepRow> const& steps() const { return steps_; }
    std::vector<SweepRow> const& sweeps() const { return sweeps_; }
    std::vector<EvaluationRow> const& evaluations() const { return evaluations_; }
    std::map<std::string, std::int64_t> table_rows() const;
    // Writes run.h5 whole. Readers never see a half-written one.
    void flush();
    // The same without waiting for the disk; an error is thrown by the next call of either. With one under way it does
    // nothing but where `always`.
    void start_flush(bool always);
    // A job for the I/O thread that writes what the log has now.
    std::function<void()> writing() const;

  private:
    struct Event {
        std::string time, kind, text;
    };
    IoThread& io_;
    Path path_;
    std::string deck_;
    std::vector<StepRow> steps_;
    std::vector<SweepRow> sweeps_;
    std::vector<EvaluationRow> evaluations_;
    std::vector<Event> events_;
    std::vector<MemoryRow> memory_;
    std::vector<CheckpointRow> checkpoints_;
    std::vector<std::future<void>> under_way_;
};

}  // namespace selvage::io
