// SPDX-License-Identifier: Apache-2.0
#include "train/trainer.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <optional>

#include "comm/ordered.h"
#include "comm/shard_exchange.h"
#include "comm/sharded_lane_sum.h"
#include "kernels/activation.h"
#include "kernels/threads.h"

namespace selvage {
namespace {

void check(TrainOptions const& options, std::int64_t ranks) {
    if (options.lanes < 1 || (options.lanes & (options.lanes - 1)) != 0)
        fail(ExitCode::bad_data, "train.lanes is {}, which is not a power of two; set it to 1, 2, 4, 8, ...",
             options.lanes);
    if (ranks > options.lanes)
        fail(ExitCode::bad_data,
             "grid.data is {} but train.lanes is {} (a rank computes one lane at least); start fewer ranks or raise "
             "train.lanes to a power of two that is not below {}; other lanes change the bits of a run",
             ranks, options.lanes, ranks);
    if (options.micro_batch_tokens < 1)
        fail(ExitCode::bad_data, "train.micro_batch_tokens is {}; set it to 1 or more", options.micro_batch_tokens);
}

// Sums of a lane, as doubles so that they go through one ordered sum. Counts stay exact up to 2^53.
enum LaneSum : std::size_t { loss_sum, weight_sum, target_count, input_count, lane_sums };

// Where the sequences of one micro-batch lie, copied from its woven rows.
struct MicroBatch {
    std::vector<std::int32_t> tokens, targets;
    std::vector<float> weights;
    std::vector<std::int64_t> lengths;

    void fill(std::span<Woven const> rows, PackedRow const& packed) {
        tokens.clear();
        targets.clear();
        weights.clear();
        lengths.clear();
        for (std::int64_t const index : packed.indices) {
            SELVAGE_CHECK(0 <= index && index < static_cast<std::int64_t>(rows.size()), "woven row {} of {}", index,
                          rows.size());
            Woven const& row = rows[static_cast<std::size_t>(index)];
            SELVAGE_CHECK(row.target_tokens.size() == row.input_tokens.size() &&
                              row.loss_weight.size() == row.input_tokens.size(),
                          "woven row {} has sequences of different lengths", index);
            tokens.insert(tokens.end(), row.input_tokens.begin(), row.input_tokens.end());
            targets.insert(targets.end(), row.target_tokens.begin(), row.target_tokens.end());
            weights.insert(weights.end(), row.loss_weight.begin(), row.loss_weight.end());
            lengths.push_back(static_cast<std::int64_t>(row.input_tokens.size()));
        }
    }
};

}  // namespace

struct Trainer::State {
    State(Arena& arena, ProcessGrid const& grid, Model& model, TrainOptions const& options);

    // Writes a lane's gradient and adds up its sums. `is_final`: told which of it is final.
    void run_lane(std::span<Woven const> rows, std::vector<PackedRow> const& lane, TensorView gradient, double* sums,
                  Model::GradientsFinal const& is_final);
    // The same of this rank's lane of a turn, if it has one. Collective where parameters are sharded, also when it
    // throws.
    void run_lane_of_turn(std::span<Woven const> rows, StepPlan const& plan, std::int64_t turn);
    // Forward and backward passes of a turn, on the rank that has most.
    std::int64_t passes_of(StepPlan const& plan, std::int64_t turn) const;
    void finish_passes() {
        model.finish_passes();
        --passes_left;
    }
    // This rank's lanes; afterwards the accumulator holds the subtree sums of their gradients, or the exchange has
    // them.
    void run_lanes(std::span<Woven const> rows, StepPlan const& plan);
    // The same by turns, whose gradients are summed in shards.
    TensorView run_turns(std::span<Woven const> rows, StepPlan const& plan);
    std::vector<double> sum_of_sums() const {
        return sharded ? tree_sum_dealt_lanes(grid.data(), options.lanes, sums, lane_sums)
                       : tree_sum_lanes(grid.data(), lane_split, options.lanes, sums, lane_sums);
    }
    void begin_exchange();
    template <class Exchange>
    void gradients_are_final(Exchange& with, std::int64_t first) {
        if (first == 0) overlapped_pieces = with.started_pieces();
        with.final_from(first);
    }
    // Where there is a tensor axis, sums over the lanes are not yet sums over all.
    bool squares_with_sums() const { return exchange && grid.size(Axis::tensor) == 1; }
    TensorView shard_of_last_lane() const {
        return gradients[accumulator.roots().back().second].view().rows(optimizer.shard().begin, optimizer.shard().end);
    }
    // This rank's shard of the gradient summed over all lanes. Collective; if a rank fails, all throw.
    TensorView sum_lanes(std::span<Woven const> rows, StepPlan const& plan);
    // From the beginning; of the thread of the exchange only what was waited for.
    double communication_seconds() const {
        return grid.data().seconds() + grid.axis(Axis::tensor).seconds() + (exchange ? exchange->seconds() : 0) +
               (sharded ? sharded->seconds() : 0) + model.gather_seconds();
    }
    KvCache& cache_of(std::int64_t pages);
    void add(std::size_t to, std::size_t from) {
        kernels::add_in_place(gradients[to].view(), gradients[from].view(), stream);
    }
    std::size_t make_gradient() {
        gradients.emplace_back(arena, "gradient", DType::f32, Shape{model.parameters().flat_size()});
        return gradients.size() - 1;
    }

    Arena& arena;
    ProcessGrid const& grid;
    Model& model;
    TrainOptions options;
    Stream stream;
    EvenSplit lane_split;
    Range lanes;  // of this rank
    ShardedAdamW optimizer;
    Workspace workspace;
    std::optional<KvCache> cache;
    std::vector<Tensor> gradients;
    LaneAccumulator accumulator;
    MicroBatch micro_batch;
    std::vector<double> sums;  // [lanes of this rank][lane_sums]
    std::int64_t overlapped_pieces = 0;
    std::int64_t passes_left = 0;          // of a turn
    std::optional<Stream> squares_stream;  // of what the exchange's thread puts in
    // Among several ranks one of these, the first beyond Shard::optimizer; last: their threads use the others.
    std::optional<ShardedLaneSum> sharded;
    std::unique_ptr<ShardExchange> exchange;
};

Trainer::State::State(Arena& arena_, ProcessGrid const& grid_, Model& model_, TrainOptions const& options_)
    : arena(arena_),
      grid(grid_),
      model(model_),
      options(options_),
      stream(arena_.stream()),
      lane_split(options_.lanes, grid_.size(Axis::data)),
      lanes(lane_split.part(grid_.coordinate(Axis::data))),
      optimizer(arena_, grid_, model_.parameters(), options_.optimizer),
      workspace(arena_, model_, options_.micro_batch_tokens, Keep::activations, options_.recompute),
      accumulator(
          options_.lanes, [this] { return make_gradient(); },
          [this](std::size_t to, std::size_t from) { add(to, from); }),
      sums(static_cast<std::size_t>(lanes.size()) * lane_sums) {
    // Every buffer that a step needs is made here: sums over the lanes as a step makes them, of zeros.
    bool const several = grid.size(Axis::data) > 1;
    SELVAGE_CHECK(model.parameters().is_whole() == !(several && options.shard == Shard::parameters),
                  "a model that holds its parameters in another way than its trainer");
    // The threads add up what is in the cache; the threads of the kernels are at work on the backward pass.
    Device& device = arena.device();
    auto const thread_begins = [&device] {
        kernels::set_threads(1);
        device.use_on_this_thread();
    };
    if (several && options.shard != Shard::optimizer) {
        sharded.emplace(arena, grid.data(), options.lanes, optimizer.shards(), kernels::add_in_place, Overlap::yes,
                        thread_begins);
        sums.resize(static_cast<std::size_t>(sharded->turns()) * lane_sums);
        make_gradient();
    } else {
        for (std::int64_t lane = lanes.begin; lane < lanes.end; ++lane) {
            accumulator.begin_lane();
            accumulator.end_lane(lane);
        }
        accumulator.reset();
    }
    if (several && !sharded) {
        squares_stream.emplace(device);
        exchange =
            make_shard_exchange(arena, grid, options.lanes, optimizer.shards(), kernels::add_in_place, thread_begins);
    }
    constexpr std::int64_t usual_length = 32;  // very short rows need more pages; cache_of makes them
    cache_of(PackedSequences::pages_for(options.micro_batch_tokens,
                                        std::max<std::int64_t>(1, options.micro_batch_tokens / usual_length)));
}

KvCache& Trainer::State::cache_of(std::int64_t pages) {
    if (!cache || cache->pages() < pages) {
        cache.reset();
        cache.emplace(arena, model, pages, KvCache::Layers::shared);
    }
    return *cache;
}

void Trainer::State::run_lane(std::span<Woven const> rows, std::vector<PackedRow> const& lane, TensorView gradient,
                              double* lane_sum, Model::GradientsFinal const& is_final) {
    if (lane.empty()) kernels::fill(gradient, 0, stream);
    kernels::Accumulate accumulate = kernels::Accumulate::overwrite;
    for (PackedRow const& packed : lane) {
        micro_batch.fill(rows, packed);
        SELVAGE_CHECK(static_cast<std::int64_t>(micro_batch.tokens.size()) <= options.micro_batch_tokens,
                      "a micro-batch of {} tokens", micro_batch.tokens.size());
        PackedSequences const sequences(micro_batch.tokens, micro_batch.lengths);
        KvCache& pages = cache_of(sequences.pages());
        model.forward(sequences.batch(), pages, workspace);
        bool const last = &packed == &lane.back();
        lane_sum[loss_sum] += model.backward(sequences.batch(), micro_batch.targets, micro_batch.weights, pages,
                                             workspace, gradient, accumulate, last ? is_final : nullptr);
        finish_passes();
        accumulate = kernels::Accumulate::add;
        for (float const weight : micro_batch.weights) {
            lane_sum[weight_sum] += weight;
            lane_sum[target_count] += weight != 0 ? 1 : 0;
        }
        lane_sum[input_count] += static_cast<double>(micro_batch.tokens.size());
    }
}

void Trainer::State::run_lanes(std::span<Woven const> rows, StepPlan const& plan) {
    std::fill(sums.begin(), sums.end(), 0.0);
    accumulator.reset();
    Model::GradientsFinal is_final;
    for (std::int64_t lane = lanes.begin; lane < lanes.end; ++lane) {
        TensorView const gradient = gradients[accumulator.begin_lane()].view();
        bool const exchanged = exchange && lane == lanes.end - 1;
        if (exchanged) {
            accumulator.keep_lane(lane);
            begin_exchange();
            is_final = [this](std::int64_t first) { gradients_are_final(*exchange, first); };
        }
        run_lane(rows, plan.lanes[static_cast<std::size_t>(lane)], gradient,
                 sums.data() + static_cast<std::size_t>(lane - lanes.begin) * lane_sums, is_final);
        if (!exchanged) accumulator.end_lane(lane);
    }
}

std::int64_t Trainer::State::passes_of(StepPlan const& plan, std::int64_t turn) const {
    std::size_t passes = 0;
    auto const ranks = static_cast<std::int64_t>(optimizer.shards().size());
    for (std::int64_t lane = turn * ranks; lane < std::min(options.lanes, (turn + 1) * ranks); ++lane)
        passes = std::max(passes, plan.lanes[static_cast<std::size_t>(lane)].size());
    return static_cast<std::int64_t>(passes);
}

void Trainer::State::run_lane_of_turn(std::span<Woven const> rows, StepPlan const& plan, std::int64_t turn) {
    passes_left = passes_of(plan, turn);
    auto const is_final = [this](std::int64_t first) { gradients_are_final(*sharded, first); };
    auto const finish = [&] {
        while (passes_left > 0) finish_passes();
    };
    try {
        if (sharded->has_lane(turn))
            run_lane(rows, plan.lanes[static_cast<std::size_t>(sharded->lane_of(turn))], gradients.front(),
                     sums.data() + static_cast<std::size_t>(turn) * lane_sums, is_final);
    } catch (...) {
        std::exception_ptr const failure = std::current_exception();
        try {
            finish();
        } catch (...) {  // the first failure is the one to report
        }
        std::rethrow_exception(failure);
    }
    finish();
}

TensorView Trainer::State::run_turns(std::span<Woven const> rows, StepPlan const& plan) {
    std::fill(sums.begin(), sums.end(), 0.0);
    sharded->begin();
    for (std::int64_t turn = 0; turn < sharded->turns(); ++turn) {
        sharded->begin_turn(turn, sharded->has_lane(turn) ? gradients.front().view() : TensorView());
        agree(grid.data(), [&] { run_lane_of_turn(rows, plan, turn); });
        sharded->finish_turn();
    }
    return sharded->sum();
}

// The last lane is not done yet, so it is not added to its left siblings either: the exchange does both.
void Trainer::State::begin_exchange() {
    std::vector<ShardExchange::Row> partial;
    for (auto const& [node, buffer] : accumulator.roots())
        partial.push_back({node, gradients[buffer].view().as<float>()});
    ShardExchange::OnSum add_squares;
    if (squares_with_sums())
        add_squares = [this](Range part) { optimizer.add_squares(shard_of_last_lane(), part, *squares_stream); };
    exchange->begin(std::move(partial), std::move(add_squares));
}

TensorView Trainer::State::sum_lanes(std::span<Woven const> rows, StepPlan const& plan) {
    auto const abandon = [this](ExitCode code, std::string const& message) {
        if (exchange) exchange->abandon(code, message);
        if (sharded) sharded->abandon(code, message);
    };
    try {
        if (sharded) return run_turns(rows, plan);
        run_lanes(rows, plan);
        if (!exchange) return gradients[accumulator.roots().front().second].view();  // the root of the whole tree
        exchange->finish();
    } catch (Error const& error) {
        abandon(error.code(), error.what());
        throw;
    } catch (std::exception const& error) {
        abandon(ExitCode::internal, error.what());
        throw;
    }
    return shard_of_last_lane();
}

Trainer::Trainer(Arena& arena, ProcessGrid const& grid, Model& model, TrainOptions const& options) {
    check(options, grid.size(Axis::data));
    state_ = std::make_unique<State>(arena, grid, model, options);
}

Trainer::~Trainer() = default;

ShardedAdamW& Trainer::optimizer() { return state_->optimizer; }

std::int64_t Trainer::overlapped_pieces() const { return state_->overlapped_pieces; }

Trainer::Result Trainer::step(std::span<Woven const> rows, StepPlan const& plan, std::int64_t total_steps,
                              StepLimits const& limits) {
    State& state = *state_;
    SELVAGE_CHECK(static_cast<std::int64_t>(plan.lanes.size()) == state.options.lanes, "a plan of {} lanes, not {}",
                  plan.lanes.size(), state.options.lanes);
    double const communicated = state.communication_seconds();
    state.model.pack(state.arena, Model::Use::training);
    TensorView const gradient = state.sum_lanes(rows, plan);
    std::vector<double> const total = state.sum_of_sums();
    Result result;
    result.loss = total[loss_sum] / total[weight_sum];
    result.target_tokens = static_cast<std::int64_t>(total[target_count]);
    result.input_tokens = static_cast<std::int64_t>(total[input_count]);
    if (result.target_tokens == 0)
        fail(ExitCode::bad_data,
             "no token of step {} has loss weight (the rows it takes have no answers); check "
             "data.train",
             plan.step);

    ShardedAdamW::Result updated;
    if (std::isfinite(result.loss))
        updated =
            state.optimizer.step(gradient, total[weight_sum], plan.step, total_steps,
                                 state.squares_with_sums() ? ShardedAdamW::Squares::done : ShardedAdamW::Squares::to_do,
                                 result.loss > limits.loss ? 0 : limits.grad_norm);
    else
        updated = {std::nan(""), learning_rate_at(state.options.optimizer, plan.step, total_steps), false};
    result.grad_norm = updated.grad_norm;
    result.learning_rate = updated.learning_rate;
    result.updated = updated.changed;
    result.communication_seconds = state.communication_seconds() - communicated;
    return result;
}

}  // namespace selvage
