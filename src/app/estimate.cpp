// SPDX-License-Identifier: Apache-2.0
#include "app/estimate.h"

#include <algorithm>
#include <bit>

#include "base/log.h"
#include "base/timer.h"
#include "io/files.h"
#include "model/model.h"
#include "model/tensor_parts.h"

namespace selvage {
namespace {

constexpr double f32 = 4;

double parameter_bytes(ModelConfig const& model) {
    double elements = 0;
    for (ParameterSpec const& spec : parameter_specs(model)) elements += static_cast<double>(spec.shape.elements());
    return elements * f32;
}

// Of the matrices before the layers and behind them.
double outside_bytes(ModelConfig const& model) {
    return static_cast<double>(model.vocabulary * model.hidden) * (model.tied ? 1 : 2) * f32;
}

// Of one row of a forward pass, in bytes per layer: the residual stream; normed, queries, keys, values, attention, MLP;
// what norms of heads and of branches read.
double row_bytes(ModelConfig const& model, double element) {
    std::int64_t const of_heads = (model.heads + model.kv_heads) * model.head_size * (model.query_key_norm ? 3 : 2);
    auto const operands = static_cast<double>(2 * model.hidden + of_heads + 4 * model.ffn);
    return (model.post_norm ? 5 : 3) * static_cast<double>(model.hidden) * f32 + operands * element;
}

}  // namespace

double MemoryEstimate::total() const {
    double sum = 0;
    for (auto const& [name, bytes] : parts) sum += bytes;
    return sum;
}

MemoryEstimate estimate_memory(JobOptions const& options, ModelConfig const& model, std::int64_t corpus_tokens,
                               std::int64_t data_ranks) {
    double const parameters = parameter_bytes(model);
    Shard const shard = data_ranks > 1 ? options.train.shard : Shard::optimizer;
    double const shares = static_cast<double>(data_ranks);
    auto const lanes = static_cast<std::uint64_t>(options.train.lanes);
    auto const lanes_here =
        (lanes + static_cast<std::uint64_t>(data_ranks) - 1) / static_cast<std::uint64_t>(data_ranks);
    double const lane_buffers = shard == Shard::optimizer ? static_cast<double>(std::bit_width(lanes_here)) + 1
                                                          : 1 + static_cast<double>(std::bit_width(lanes)) / shares;
    double const layers = static_cast<double>(model.layers);
    auto const rows = static_cast<double>(options.train.micro_batch_tokens);
    bool const bf16 = options.precision.compute == DType::bf16;
    auto const element = static_cast<double>(size_of(options.precision.compute));
    double const kept_layers = options.train.recompute == Recompute::block ? 1 : layers;
    double const activations = rows * (row_bytes(model, element) * (kept_layers + 1) +
                                       static_cast<double>(model.hidden) * f32 * (layers - kept_layers));
    double const logits = static_cast<double>(Model::logit_rows * model.vocabulary) * (bf16 ? f32 + element : f32);
    // Packed for generation; in bf16 also for training, twice, but where layers are gathered in turn.
    bool const gathers = shard == Shard::parameters;
    double const packed = parameters / f32 * element * (bf16 && !gathers ? 2 : 1);
    double const outside = outside_bytes(model);
    double const gathered = gathers ? outside + 2 * (parameters - outside) / layers / f32 * element : 0;
    double const generation = static_cast<double>(options.generate.cache_mib) * 1024 * 1024 + packed;
    double const pages = static_cast<double>(PackedSequences::pages_for(options.train.micro_batch_tokens,
                                                                        options.train.micro_batch_tokens)) *
                         static_cast<double>(KvCache::bytes_per_page(model, options.precision.compute)) / layers;
    MemoryEstimate estimate{{{"parameters", gathers ? parameters / shares : parameters},
                             {"gradients of lanes", parameters * lane_buffers},
                             {"optimizer state", 2 * parameters / shares},
                             {"activations", activations + logits + pages},
                             {"generation (cache, packed weights)", generation},
                             {"data", static_cast<double>(corpus_tokens) * sizeof(Token)}}};
    if (options.checkpoint.background) estimate.parts.push_back({"copy for checkpoints", 3 * parameters / shares});
    if (gathers) estimate.parts.push_back({"gathered layers", gathered});
    return estimate;
}

double estimate_disk(JobOptions const& options, ModelConfig const& model) {
    auto const rounds = static_cast<double>(options.run.rounds);
    auto const batch = static_cast<double>(options.train.steps_per_round * options.train.batch_tokens);
    double const woven = batch * 14;   // bytes per token of a woven row
    double const drafts = batch * 12;  // and of a draft
    double const checkpoints = 3 * parameter_bytes(model) * static_cast<double>(options.checkpoint.keep + 1);
    return rounds * (woven + drafts) + checkpoints;
}

void check_resources(JobOptions const& options, ModelConfig const& model, std::int64_t corpus_tokens,
                     ProcessGrid const& grid, Device const& device) {
    ModelConfig const here = config_on(model, grid.coordinate(Axis::tensor), grid.size(Axis::tensor));
    JobOptions counted = options;
    if (device.kind() == DeviceKind::cuda) counted.checkpoint.background = false;  // the copy is in the host's memory
    MemoryEstimate const memory = estimate_memory(counted, here, corpus_tokens, grid.size(Axis::data));
    auto const node = grid.world().split_by_node();
    int const gpus = device.kind() == DeviceKind::cuda ? std::max(1, count_gpus()) : 1;
    int const sharing = (node->size() + gpus - 1) / gpus;  // ranks that share the device's memory
    double const limit = static_cast<double>(device.memory_limit()) / sharing;
    std::string parts;
    for (auto const& [name, bytes] : memory.parts)
        parts += fmt::format("{}{} {}", parts.empty() ? "" : ", ", name, format_bytes(bytes));
    log::info("memory per rank: about {} of {} ({})", format_bytes(memory.total()), format_bytes(limit), parts);
    agree(grid.world(), [&] {
        if (memory.total() > limit)
            fail(ExitCode::bad_data,
                 "the job needs about {} of memory per rank, and {} rank(s) of this node share {} ({}); lower "
                 "train.micro_batch_tokens or "
                 "generate.cache_mib, start fewer ranks per node, or use a smaller model",
                 format_bytes(memory.total()), sharing, format_bytes(limit * sharing), parts);
    });
    if (!grid.is_root()) return;
    double const disk = estimate_disk(options, model);
    double const free = static_cast<double>(io::free_disk_bytes(options.run.out));
    log::info("disk: about {} in {} ({} free)", format_bytes(disk), options.run.out, format_bytes(free));
    if (disk > free)
        log::warning("the run may fill the disk: about {} needed, {} free in {}", format_bytes(disk),
                     format_bytes(free), options.run.out);
}

}  // namespace selvage
