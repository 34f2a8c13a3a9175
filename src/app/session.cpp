// SPDX-License-Identifier: Apache-2.0
#include "app/session.h"

#include <cstdlib>
#include <optional>

#include "base/log.h"
#include "kernels/batch_invariance.h"
#include "kernels/gemm.h"
#include "kernels/threads.h"
#include "model/model.h"

namespace selvage {

namespace {

// The device that SELVAGE_DEVICE names, or else a GPU where there is one. Ranks of a node take its GPUs in turn, and
// share them where there are more ranks. Collective.
std::unique_ptr<Device> choose_device(Communicator& world) {
    auto const node = world.split_by_node();
    int const gpus = count_gpus();
    char const* const wanted = std::getenv("SELVAGE_DEVICE");
    std::string const name = wanted != nullptr && *wanted != '\0' ? wanted : gpus > 0 ? "cuda" : "cpu";
    std::unique_ptr<Device> device;
    agree(world, [&] { device = make_device(name, gpus > 0 ? node->rank() % gpus : 0); });
    if (name != "cpu") log::info("device: {}", device->description());
    return device;
}

std::string choose_bits(PrecisionOptions const& options, Device const& device) {
    std::string chosen = kernels::set_batch_invariant(options.batch_invariant, device.kind());
    if (!chosen.empty()) log::info("{}", chosen);
    return chosen;
}

}  // namespace

Session::Session(MpiSession& mpi, RunDeck const& options)
    : device_(choose_device(*mpi.world())),
      grid_(std::make_unique<ProcessGrid>(mpi.world(), options.grid)),
      batch_variance_(choose_bits(options.job.precision, *device_)),
      arena_(*device_),
      io_(std::make_unique<io::IoThread>(grid_->world(), mpi.has_threads())) {
    grid_->connect(*device_);
    kernels::set_threads(options.job.train.threads_per_rank);
    kernels::GemmReport const& gemm = kernels::choose_gemm();
    if (gemm.way == kernels::GemmWay::ordered)
        log::info("matrix products: own kernels ({}), because {}", gemm.instruction_set, gemm.reason);
    // Ranks of one job must compute alike: the same way and instruction set everywhere.
    std::string const on_cpu = fmt::format(
        "{} {}", gemm.way == kernels::GemmWay::library ? gemm.library : "own kernels", gemm.instruction_set);
    std::string const mine = device_->kind() == DeviceKind::cpu ? on_cpu : device_->description();
    std::string const root = broadcast_text(grid_->world(), mine, 0);
    agree(grid_->world(), [&] {
        if (mine != root)
            fail(ExitCode::system,
                 "this rank computes with {}, rank 0 with {} (results would depend on the layout); run on one kind of "
                 "node, or set "
                 "DNNL_MAX_CPU_ISA (SELVAGE_DEVICE) to what all have",
                 mine, root);
    });
}

ModelSource::ModelSource(io::IoThread& io, std::string path) : io_(io), path_(std::move(path)) {
    if (huggingface::is_model_folder(path_)) {
        folder_ = std::make_shared<huggingface::ModelFolder const>(path_);
        info_ = folder_->info();
        config_ = folder_->config();
        return;
    }
    info_ = io::read_checkpoint_info(io, path_);
    config_ = parse_model_config(info_.model, path_);
    validate(config_);
}

void ModelSource::read(Communicator& world, ParameterSet& parameters) const {
    if (!folder_) return io::read_checkpoint(io_, path_, parameters, nullptr);
    agree(world, [&] {
        io::fill_parameters(parameters, [&](ParameterSpec const& parameter, Range rows, float* into) {
            folder_->read(parameter, rows, into);
        });
    });
}

OpenedModel open_model(Session& session, std::string const& path, std::vector<std::string> const& overrides) {
    OpenedModel opened;
    std::optional<ModelSource> source;
    agree(session.grid().world(), [&] {
        source.emplace(session.io(), path);
        opened.info = source->info();
        opened.config = source->config();
        opened.tokenizer = make_tokenizer(opened.info.tokenizer);
    });
    auto const pieces = static_cast<std::int64_t>(opened.tokenizer->table().pieces.size());
    PrecisionOptions const precision = deck_of_overrides(overrides, opened.info.deck).options.job.precision;
    choose_bits(precision, session.arena().device());
    opened.model = std::make_unique<Model>(session.arena(), opened.config, session.grid(), pieces, precision.compute);
    source->read(session.grid().world(), opened.model->parameters());
    return opened;
}

void tell_other_tokenizer(std::string const& name, Corpus const& corpus, TokenizerTable const& tokenizer) {
    if (!corpus.tokenizer().reads_as(tokenizer))
        log::root_warning("{} was prepared with another tokenizer than the model's; its ids may mean other text", name);
}

void require_begin(Tokenizer const& tokenizer) {
    if (tokenizer.special().begin < 0)
        fail(ExitCode::bad_data, "--begin is given, but the tokenizer ({}) has no begin token; leave it out",
             tokenizer.table().kind);
}

void tell_too_long(std::string const& name, Corpus const& corpus, DataOptions const& options) {
    std::int64_t const dropped = corpus.dropped();
    std::int64_t const truncated = corpus.truncated();
    if (dropped + truncated == 0) return;
    log::info(
        "{}: {} of {} pairs are longer than data.context = {}: {} dropped, {} with the beginning of the prompt cut "
        "(data.too_long)",
        name, dropped + truncated, corpus.size() + dropped, options.context, dropped, truncated);
}

std::unique_ptr<io::IoThread> open_io(MpiSession& mpi) {
    auto const world = mpi.world();
    return std::make_unique<io::IoThread>(*world, mpi.has_threads());
}

}  // namespace selvage
