// SPDX-License-Identifier: Apache-2.0
#include "sweep/checkpoints.h"

#include <algorithm>
#include <cmath>

#include "base/heartbeat.h"
#include "base/log.h"
#include "sweep/draft_journal.h"
#include "tensor/host_copy.h"

namespace selvage {
namespace {

// A checkpoint of numbers that are not finite would push out a good one.
void check_finite(std::span<float const> values, io::RunState const& state) {
    if (std::ranges::all_of(values, [](float value) { return std::isfinite(value); })) return;
    fail(ExitCode::bad_data,
         "the weights are not finite after step {} (round {}); the last good checkpoint stays: start again from "
         "it or from nothing (model.from, --resume never) with a lower train.learning_rate",
         state.step, state.round);
}

}  // namespace

Checkpoints::Checkpoints(ProcessGrid const& grid, io::IoThread& io, std::filesystem::path const& out,
                         CheckpointOptions const& options, ParameterSet const& parameters, ShardedAdamW& optimizer,
                         io::RunLog* log)
    : grid_(grid), io_(io), out_(out), options_(options), parameters_(parameters), optimizer_(optimizer), log_(log) {
    for (auto& buffer : copies_) buffer = std::make_unique<HostBuffer>(parameters.device());
}

Checkpoints::~Checkpoints() {
    // The job reads what is freed next.
    if (pending_ && pending_->written.valid()) pending_->written.wait();
}

bool Checkpoints::due(std::int64_t step) {
    if (options_.every_steps > 0 && step % options_.every_steps == 0) return true;
    if (options_.every_minutes <= 0) return false;
    return max_over(grid_.world(), grid_.is_root() && since_.seconds() > options_.every_minutes * 60 ? 1 : 0) != 0;
}

std::array<TensorView, Checkpoints::parts> Checkpoints::copy() {
    std::array<TensorView, parts> from = {parameters_.values_of(optimizer_.shard()), optimizer_.first_moment(),
                                          optimizer_.second_moment()};
    // In the foreground the processor's own memory needs no copy.
    if (!options_.background && from[values].device() == DeviceKind::cpu) return from;
    Stream stream(parameters_.device());
    std::array<TensorView, parts> out;
    for (std::size_t i = 0; i < parts; ++i) {
        auto const count = from[i].elements();
        auto* const host = static_cast<float*>(copies_[i]->at_least(static_cast<std::size_t>(count) * sizeof(float)));
        copy_to_host(host, from[i], stream);
        out[i] = TensorView::of(host, {count});
    }
    return out;
}

void Checkpoints::start(io::CheckpointInfo info) {
    finish();
    Timer const timer;
    parameters_.device().synchronize();
    std::array<TensorView, parts> shard;
    agree(grid_.world(), [&] {
        shard = copy();
        auto const count = static_cast<std::size_t>(shard[values].elements());
        check_finite({shard[values].as<float>(), count}, info.state);
    });
    std::function<void()> write_log;
    if (log_ != nullptr) {
        info.state.table_rows = log_->table_rows();
        write_log = log_->writing();
    }
    Timer const writing;
    pending_.emplace();
    pending_->written = io_.submit([this, info = std::move(info), shard, write_log = std::move(write_log), writing] {
        Communicator& ranks = io_.communicator();
        // run.h5 is on disk with these rows before the checkpoint that counts them.
        agree(ranks, [&] {
            if (write_log) write_log();
        });
        io::OptimizerShard const moments = {optimizer_.shard(), shard[first_moment], shard[second_moment]};
        std::int64_t const bytes =
            io::write_checkpoint(ranks, io::checkpoint_path(out_ / "checkpoints", info.state.step), info, parameters_,
                                 shard[values], moments, options_.writers);
        if (write_log) {
            io::remove_old_checkpoints(out_ / "checkpoints", options_.keep);
            remove_journals_before(out_ / "journal", info.state);
        }
        return io::CheckpointRow{info.state.step, bytes, 0, writing.seconds()};
    });
    if (!options_.background) pending_->written.wait();
    pending_->stall_seconds = timer.seconds();
    if (!options_.background) finish();
    since_.restart();
    heartbeat();
}

void Checkpoints::look() {
    if (pending_ && pending_->written.wait_for(std::chrono::seconds(0)) == std::future_status::ready) take_written();
}

void Checkpoints::finish() {
    if (!pending_) return;
    Timer const timer;
    pending_->written.wait();
    pending_->stall_seconds += timer.seconds();
    take_written();
    heartbeat();
}

void Checkpoints::take_written() {
    double const stall = pending_->stall_seconds;
    auto written = std::move(pending_->written);
    pending_.reset();
    io::CheckpointRow row = written.get();
    row.stall_seconds = stall;
    if (log_ == nullptr) return;
    log_->add(row);
    auto const bytes = static_cast<double>(row.bytes);
    log_->event("checkpoint",
                fmt::format("step {}: {} in {:.2f} s ({}/s), of which the run waited {:.2f} s", row.step,
                            format_bytes(bytes), row.write_seconds, format_bytes(bytes / row.write_seconds), stall));
    log_->start_flush(false);
}

}  // namespace selvage
