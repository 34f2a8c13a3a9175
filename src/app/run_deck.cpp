// SPDX-License-Identifier: Apache-2.0
#include "app/run_deck.h"

#include <filesystem>

#include "base/error.h"
#include "sweep/stop.h"

namespace selvage {
namespace {

using weave::BashDraft;
using weave::BashSchedule;
using weave::BashUnit;
using weave::RacKeep;
using weave::RacOverflow;
using weave::RacScore;
using weave::RacTruncated;
using weave::WeaveMethod;

constexpr double count_limit = 1e12;

void bind_run(Deck& deck, RunOptions& run) {
    deck.bind("run.seed", run.seed, "seed of every random draw", at_least(0));
    deck.bind("run.rounds", run.rounds, "rounds of generation, weaving and training", between(1, count_limit));
    deck.bind("run.schedule_rounds", run.schedule_rounds,
              "rounds that schedules go by; 0: run.rounds of the first start", between(0, count_limit));
    deck.bind("run.out", run.out, "output folder, relative to the working directory");
    deck.bind("run.walltime", run.walltime, "hh:mm:ss after which the run stops with everything saved; \"\": no limit");
    deck.bind("run.hang_minutes", run.hang_minutes, "a run without progress for so long ends; 0: never", at_least(0));
}

// What some families of models have beside the usual.
void bind_model_family(Deck& deck, ModelConfig& model) {
    deck.bind("model.query_key_norm", model.query_key_norm, "RMSNorm of each head's query and key before the rotation");
    deck.bind("model.post_norm", model.post_norm, "a norm of each branch's output before it is added");
    deck.bind("model.norm_offset", model.norm_offset, "norms multiply by 1 + weight");
    deck.bind("model.embedding_scale", model.embedding_scale, "embeddings are multiplied by it", between(0, 1e6));
    deck.bind("model.attention_scale", model.attention_scale, "scores are multiplied by it; 0: 1 / sqrt(head_size)",
              between(0, 1e6));
    deck.bind("model.attention_softcap", model.attention_softcap, "scores s become cap tanh(s / cap); 0: they stay",
              between(0, 1e6));
    deck.bind("model.logit_softcap", model.logit_softcap, "logits likewise", between(0, 1e6));
    deck.bind("model.sliding_window", model.sliding_window, "keys that a query sees, its own the last; 0: all",
              between(0, 1 << 24));
    deck.bind("model.sliding_period", model.sliding_period,
              "of so many layers in a row the last one sees all keys; 0: none does", between(0, 1e4));
    deck.bind_choice(
        "model.rotary_scaling", model.rotary_scaling,
        {{"none", RotaryScaling::none}, {"linear", RotaryScaling::linear}, {"llama3", RotaryScaling::llama3}},
        "frequencies of the rotary embedding: as they are, all divided, or the slow ones divided");
    deck.bind("model.rotary_scaling_factor", model.rotary_scaling_factor, "what they are divided by", between(1, 1e6));
    deck.bind("model.rotary_low_frequency_factor", model.rotary_low_frequency_factor,
              "llama3: frequencies with fewer turns in the original context are slow", between(0, 1e6));
    deck.bind("model.rotary_high_frequency_factor", model.rotary_high_frequency_factor,
              "llama3: frequencies with more turns stay; between them they are mixed", between(0, 1e6));
    deck.bind("model.rotary_original_context", model.rotary_original_context,
              "llama3: context that the model was first made for", between(1, 1 << 24));
}

void bind_model(Deck& deck, ModelConfig& model, std::string& from) {
    deck.bind_path("model.from", from,
                   "model or checkpoint to start from, whose configuration is taken; \"\": random weights");
    deck.bind("model.layers", model.layers, "transformer layers", between(1, 1e4));
    deck.bind("model.hidden", model.hidden, "width of the residual stream", between(1, 1e6));
    deck.bind("model.heads", model.heads, "attention heads", between(1, 1e4));
    deck.bind("model.kv_heads", model.kv_heads, "key and value heads (grouped-query attention)", between(1, 1e4));
    deck.bind("model.head_size", model.head_size, "width of a head", between(1, 1024));
    deck.bind("model.ffn", model.ffn, "width of the MLP", between(1, 1e7));
    deck.bind("model.vocabulary", model.vocabulary, "tokens; 0: the tokenizer's, rounded up to a multiple of 64",
              between(0, 1 << 22));
    deck.bind_choice("model.norm", model.norm, {{"rmsnorm", NormKind::rmsnorm}, {"layernorm", NormKind::layernorm}},
                     "normalisation");
    deck.bind("model.norm_epsilon", model.norm_epsilon, "added to the variance", between(0, 1));
    deck.bind_choice("model.activation", model.activation,
                     {{"swiglu", ActivationKind::swiglu},
                      {"geglu", ActivationKind::geglu},
                      {"gelu", ActivationKind::gelu},
                      {"geglu_erf", ActivationKind::geglu_erf},
                      {"gelu_erf", ActivationKind::gelu_erf}},
                     "MLP: gated or not, and its function; GELU by tanh or by the error function");
    deck.bind("model.rotary_base", model.rotary_base, "base of the rotary position embedding", between(1, 1e12));
    deck.bind("model.rotary_fraction", model.rotary_fraction, "share of a head's dims that is turned", between(0, 1));
    deck.bind("model.tied", model.tied, "output projection = embedding table");
    deck.bind("model.attention_bias", model.attention_bias, "biases of query, key and value");
    deck.bind("model.output_bias", model.output_bias, "bias of the attention's output projection");
    deck.bind("model.mlp_bias", model.mlp_bias, "biases of the MLP");
    deck.bind("model.parallel_residual", model.parallel_residual, "attention and MLP read the same residual");
    bind_model_family(deck, model);
}

void bind_data(Deck& deck, DataOptions& data) {
    deck.bind_paths("data.train", data.train, "data files to train on (selvage prepare makes them)");
    deck.bind_paths("data.validation", data.validation, "data files for choices made on the way");
    deck.bind_paths("data.heldout", data.heldout, "data files for what is reported");
    deck.bind("data.context", data.context, "most tokens of a sequence", between(2, 1 << 24));
    deck.bind_choice("data.too_long", data.too_long, {{"drop", TooLong::drop}, {"truncate", TooLong::truncate}},
                     "pairs longer than the context: leave out, or cut the beginning of the prompt");
}

void bind_grid(Deck& deck, GridOptions& grid) {
    deck.bind("grid.tensor", grid.tensor, "ranks that split heads, MLP and vocabulary", between(1, 1 << 20));
    deck.bind("grid.context", grid.context, "ranks that split a sequence", between(1, 1 << 20));
    deck.bind("grid.expert", grid.expert, "ranks that split experts", between(1, 1 << 20));
    deck.bind("grid.pipeline", grid.pipeline, "ranks that split layers", between(1, 1 << 20));
    deck.bind("grid.data", grid.data, "ranks that split the batch; 0: all remaining", between(0, 1 << 20));
    deck.bind_choice("grid.transport", grid.transport,
                     {{"automatic", Transport::automatic}, {"staged", Transport::staged}, {"nccl", Transport::nccl}},
                     "how GPU memory goes from rank to rank: NCCL where every rank has a GPU, or through host memory");
}

void bind_generate(Deck& deck, GenerateOptions& generate) {
    deck.bind("generate.examples", generate.examples, "examples per round; 0: what the training sweep needs",
              between(0, count_limit));
    deck.bind("generate.samples", generate.samples, "drafts per example", between(1, 65535));
    deck.bind("generate.streams", generate.streams, "sequences decoded at once, per rank", between(1, 65536));
    deck.bind("generate.max_new_tokens", generate.max_new_tokens, "longest answer", between(1, 1 << 24));
    deck.bind("generate.temperature", generate.sampler.temperature, "0: the most likely token", between(0, 1000));
    deck.bind("generate.top_p", generate.sampler.top_p, "smallest set of tokens with this probability; 1: all",
              between(1e-9, 1));
    deck.bind("generate.top_k", generate.sampler.top_k, "most likely tokens; 0: all", between(0, 1 << 22));
    deck.bind("generate.cache_mib", generate.cache_mib, "MiB of keys and values, per rank", between(1, 1 << 24));
}

void bind_weave(Deck& deck, weave::WeaveOptions& weave) {
    deck.bind_choices("weave.method", weave.method,
                      {{"none", WeaveMethod::none},
                       {"bash", WeaveMethod::bash},
                       {"rac", WeaveMethod::rac},
                       {"both", WeaveMethod::both}},
                      "what rounds train on; a list gives one per round, the last repeated");
    deck.bind("weave.rac_fraction", weave.rac_fraction, "method both: share of examples that go to RAC", between(0, 1));

    auto& bash = weave.bash;
    deck.bind_choice("weave.bash.draft", bash.draft,
                     {{"forced", BashDraft::forced}, {"mixed", BashDraft::mixed}, {"free", BashDraft::free}},
                     "where own tokens come from");
    deck.bind("weave.bash.passes", bash.passes, "forced: passes over the answer", between(1, 65535));
    deck.bind_choice("weave.bash.schedule", bash.schedule,
                     {{"constant", BashSchedule::constant},
                      {"linear", BashSchedule::linear},
                      {"exponential", BashSchedule::exponential},
                      {"inverse-sigmoid", BashSchedule::inverse_sigmoid}},
                     "how the rate goes over the rounds");
    deck.bind("weave.bash.rate", bash.rate, "constant: probability of the own token", between(0, 1));
    deck.bind("weave.bash.rate_start", bash.rate_start, "other schedules: first round", between(0, 1));
    deck.bind("weave.bash.rate_end", bash.rate_end, "other schedules: last round", between(0, 1));
    deck.bind("weave.bash.k", bash.k, "shape of exponential (0 < k < 1) and inverse-sigmoid; 0: the schedule's default",
              between(0, 1000));
    deck.bind_choice("weave.bash.unit", bash.unit, {{"token", BashUnit::token}, {"span", BashUnit::span}},
                     "independent coins, or runs");
    deck.bind("weave.bash.span_mean", bash.span_mean, "mean length of a run", between(1, 1e6));
    deck.bind("weave.bash.temperature", bash.temperature, "of own tokens; 0: the most likely", between(0, 1000));
    deck.bind("weave.bash.top_p", bash.top_p, "of own tokens", between(1e-9, 1));
    deck.bind("weave.bash.top_k", bash.top_k, "of own tokens; 0: all", between(0, 1 << 22));
    deck.bind("weave.bash.special", bash.special, "own special tokens become", {"gold"});
    deck.bind("weave.bash.gold_weight", bash.gold_weight, "weight of the plain example trained beside; 0: none",
              between(0, 1e6));

    auto& rac = weave.rac;
    deck.bind("weave.rac.template", rac.marker, "text between draft and answer");
    deck.bind_choice("weave.rac.keep", rac.keep,
                     {{"all", RacKeep::all}, {"wrong", RacKeep::wrong}, {"wrong+some", RacKeep::wrong_some}},
                     "which drafts are trained on");
    deck.bind_choice("weave.rac.score", rac.score,
                     {{"exact", RacScore::exact}, {"rougeL", RacScore::rouge_l}, {"token_f1", RacScore::token_f1}},
                     "what tells wrong from right");
    deck.bind("weave.rac.threshold", rac.threshold, "a draft that scores below is wrong", between(0, 1));
    deck.bind("weave.rac.right_fraction", rac.right_fraction, "wrong+some: share of right drafts that stay",
              between(0, 1));
    deck.bind_choice("weave.rac.truncated", rac.truncated, {{"keep", RacTruncated::keep}, {"drop", RacTruncated::drop}},
                     "drafts that hit the length limit");
    deck.bind_choice("weave.rac.overflow", rac.overflow, {{"cut", RacOverflow::cut}, {"drop", RacOverflow::drop}},
                     "too long for the context: cut the draft's tail, or leave out");
    deck.bind("weave.rac.gold_weight", rac.gold_weight, "weight of the plain example trained beside; 0: none",
              between(0, 1e6));
}

void bind_train(Deck& deck, TrainOptions& train) {
    auto& o = train.optimizer;
    deck.bind("train.lanes", train.lanes,
              "parts of a step whose sums go by a fixed tree (a power of two); at least the data ranks",
              between(1, 1 << 20));
    deck.bind("train.steps_per_round", train.steps_per_round, "optimizer steps of a training sweep",
              between(1, count_limit));
    deck.bind("train.batch_tokens", train.batch_tokens, "input tokens of a step", between(1, count_limit));
    deck.bind("train.micro_batch_tokens", train.micro_batch_tokens, "tokens of one packed row", between(1, 1 << 24));
    deck.bind("train.learning_rate", o.learning_rate, "highest rate", between(0, 1e3));
    deck.bind("train.warmup_steps", o.warmup_steps, "steps of linear warm-up", between(0, count_limit));
    deck.bind_choice("train.schedule", o.schedule,
                     {{"constant", LearningRateSchedule::constant},
                      {"linear", LearningRateSchedule::linear},
                      {"cosine", LearningRateSchedule::cosine}},
                     "after the warm-up");
    deck.bind("train.minimum_rate", o.minimum_rate, "share of learning_rate at the end of linear and cosine",
              between(0, 1));
    deck.bind("train.weight_decay", o.weight_decay, "decoupled, on matrices", between(0, 1e3));
    deck.bind("train.beta1", o.beta1, "AdamW, first moment", between(0, 0.9999999));
    deck.bind("train.beta2", o.beta2, "AdamW, second moment", between(0, 0.9999999));
    deck.bind("train.epsilon", o.epsilon, "AdamW", between(1e-30, 1));
    deck.bind("train.clip", o.clip, "largest norm of the gradient; 0: no limit", between(0, 1e9));
    deck.bind_choice(
        "train.shard", train.shard,
        {{"optimizer", Shard::optimizer}, {"gradients", Shard::gradients}, {"parameters", Shard::parameters}},
        "what each rank of the data axis keeps a part of only (ZeRO-1, 2, 3); each keeps less");
    deck.bind_choice("train.recompute", train.recompute,
                     {{"none", Recompute::none}, {"attention", Recompute::attention}, {"block", Recompute::block}},
                     "activations computed again in the backward pass instead of kept");
    deck.bind("train.threads_per_rank", train.threads_per_rank, "threads of each rank", between(1, 4096));
}

void bind_evaluate(Deck& deck, EvaluateOptions& evaluate) {
    deck.bind("evaluate.every_rounds", evaluate.every_rounds, "0: only at the start and the end",
              between(0, count_limit));
    deck.bind("evaluate.examples", evaluate.examples, "held-out examples used; 0: all", between(0, count_limit));
    deck.bind("evaluate.turns", evaluate.turns, "correction turns", between(0, 200));
    deck.bind("evaluate.extract", evaluate.extract, "what exact match compares", {"all", "last_line", "last_number"});
    deck.bind(
        "evaluate.right_rougeL", evaluate.right_rougeL,
        "correction and corruption rate: an answer is right when its ROUGE-L reaches this; 0: when it matches exactly",
        between(0, 1));
    deck.bind("evaluate.bins", evaluate.bins, "position bins of the curves", between(1, 48));
    deck.bind("evaluate.prefix", evaluate.prefix, "prefix exchange: bins are multiples of so many tokens",
              between(1, 1 << 20));
}

void bind_checkpoint(Deck& deck, CheckpointOptions& checkpoint) {
    deck.bind("checkpoint.every_steps", checkpoint.every_steps, "0: only between sweeps", between(0, count_limit));
    deck.bind("checkpoint.every_minutes", checkpoint.every_minutes, "0: by steps only", between(0, 1e6));
    deck.bind("checkpoint.keep", checkpoint.keep, "newest checkpoints that stay", between(1, 1e6));
    deck.bind("checkpoint.writers", checkpoint.writers, "ranks that write; 0: one per node", between(0, 1 << 20));
}

}  // namespace

void bind(Deck& deck, RunDeck& options) {
    bind_run(deck, options.job.run);
    bind_model(deck, options.model, options.model_from);
    bind_data(deck, options.job.data);
    bind_grid(deck, options.grid);
    deck.bind_choice("precision.compute", options.job.precision.compute, {{"f32", DType::f32}, {"bf16", DType::bf16}},
                     "type of weights and activations in the products");
    deck.bind("precision.batch_invariant", options.job.precision.batch_invariant,
              "keep the determinism contract; false allows faster, order-free paths");
    bind_generate(deck, options.job.generate);
    bind_weave(deck, options.job.weave);
    bind_train(deck, options.job.train);
    bind_evaluate(deck, options.job.evaluate);
    bind_checkpoint(deck, options.job.checkpoint);
    deck.finish();
}

ModelConfig parse_model_config(std::string const& toml, std::string const& name) {
    Deck deck = Deck::parse(toml, name, ".");
    ModelConfig config;
    std::string from;
    bind_model(deck, config, from);
    deck.finish();
    return config;
}

void validate(RunDeck const& options, Deck const& deck) {
    JobOptions const& job = options.job;
    if (job.data.train.empty())
        fail(ExitCode::bad_data, "data.train is missing; name at least one file that selvage prepare made");
    if (job.data.heldout.empty())
        fail(ExitCode::bad_data, "data.heldout is missing; name at least one file that selvage prepare made");
    if (!job.run.walltime.empty()) parse_walltime(job.run.walltime);
    if ((job.train.lanes & (job.train.lanes - 1)) != 0)
        fail(ExitCode::bad_data, "{}: train.lanes is {} (lanes are added by a binary tree); use a power of two",
             deck.where("train.lanes"), job.train.lanes);
    if (job.train.micro_batch_tokens < job.data.context)
        fail(ExitCode::bad_data,
             "{}: train.micro_batch_tokens is {}, less than data.context = {} (a packed row must hold the longest "
             "example); raise it",
             deck.where("train.micro_batch_tokens"), job.train.micro_batch_tokens, job.data.context);
    auto const& bash = job.weave.bash;
    if (bash.schedule == BashSchedule::exponential && bash.k >= 1)
        fail(ExitCode::bad_data, "{}: weave.bash.k is {}; the exponential schedule needs 0 < k < 1 (0: its default)",
             deck.where("weave.bash.k"), bash.k);
    ModelConfig model = options.model;
    if (model.vocabulary == 0) model.vocabulary = 64;
    validate(model);
}

LoadedDeck load_deck(std::string const& path, std::vector<std::string> const& overrides, ModelConfig const* model) {
    LoadedDeck loaded{Deck::read(path), {}};
    for (std::string const& assignment : overrides) loaded.deck.set(assignment);
    if (model != nullptr) loaded.options.model = *model;
    bind(loaded.deck, loaded.options);
    if (model != nullptr && !(loaded.options.model == *model))
        fail(ExitCode::bad_data, "{}: the [model] table contradicts model.from = {}; leave out the keys that differ",
             loaded.deck.where("model.from"), loaded.options.model_from);
    validate(loaded.options, loaded.deck);
    return loaded;
}

LoadedDeck deck_of_overrides(std::vector<std::string> const& overrides, std::string const& base) {
    LoadedDeck loaded{Deck::parse(base, base.empty() ? "command line" : "the checkpoint's deck", "."), {}};
    for (std::string const& assignment : overrides) loaded.deck.set(assignment);
    bind(loaded.deck, loaded.options);
    return loaded;
}

}  // namespace selvage
