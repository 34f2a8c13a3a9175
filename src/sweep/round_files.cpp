// SPDX-License-Identifier: Apache-2.0
#include "sweep/round_files.h"

#include <utility>

#include "sweep/draft_attributes.h"
#include "sweep/summary.h"
#include "weave/weave.h"

namespace selvage {
namespace {

std::vector<std::int64_t> lengths_of(std::vector<Woven> const& rows) {
    std::vector<std::int64_t> out;
    for (Woven const& row : rows) out.push_back(static_cast<std::int64_t>(row.input_tokens.size()));
    return out;
}

}  // namespace

io::Path drafts_path(Job const& job, std::int64_t round) {
    return io::round_path(io::Path(job.options.run.out) / "drafts", round);
}
io::Path woven_path(Job const& job, std::int64_t round) {
    return io::round_path(io::Path(job.options.run.out) / "woven", round);
}

void write_drafts(io::IoThread& io, Job const& job, io::RunState const& state, weave::WeaveMethod method,
                  std::vector<Draft> const& drafts, std::string const& policy) {
    io::DraftsFile file;
    file.drafts = drafts;
    file.deck = job.effective_deck;
    auto const& bash = job.options.weave.bash;
    bool const by_bash = method == weave::WeaveMethod::bash || method == weave::WeaveMethod::both;
    char const* const bash_kinds[] = {"forced", "mixed", "free"};
    SamplerOptions const sampler =
        by_bash ? SamplerOptions{bash.temperature, bash.top_p, bash.top_k} : job.options.generate.sampler;
    describe_drafts(file.attributes, by_bash ? bash_kinds[static_cast<int>(bash.draft)] : "free", state.step, policy,
                    sampler, job.options.run.seed);
    file.attributes.text["method"] = name_of(method);
    file.attributes.integers["round"] = state.round;
    io::write_drafts(io, drafts_path(job, state.round), file);
}

WovenCounts write_round(io::IoThread& io, Job const& job, io::RunState const& state, weave::WeaveMethod method,
                        std::vector<Example> const& examples, std::vector<Draft> const& drafts,
                        Tokenizer const& tokenizer) {
    weave::WeaveInput input;
    input.examples = examples;
    input.drafts = drafts;
    input.round = state.round;
    input.schedule_rounds = job.options.run.schedule_rounds;
    input.seed = static_cast<std::uint64_t>(job.options.run.seed);
    input.context = job.options.data.context;
    input.samples = job.options.generate.samples;
    auto woven = weave::weave_round(job.options.weave, method, input, tokenizer);
    io::WovenFile file;
    file.rows = std::move(woven.rows);
    file.uses = uses_of(plan_round(job, state, file.rows), lengths_of(file.rows));
    file.deck = job.effective_deck;
    file.attributes.integers = std::move(woven.audit);
    file.attributes.integers["round"] = state.round;
    file.attributes.text["method"] = name_of(method);
    WovenCounts counts{static_cast<std::int64_t>(file.rows.size())};
    for (std::int64_t const length : lengths_of(file.rows)) counts.tokens += length;
    io::write_woven(io, woven_path(job, state.round), file);
    return counts;
}

std::vector<StepPlan> plan_round(Job const& job, io::RunState const& state, std::vector<Woven> const& rows) {
    if (rows.empty()) return {};
    TrainOptions const& train = job.options.train;
    PackingOptions const packing{train.batch_tokens, train.micro_batch_tokens, train.lanes};
    return plan_steps(lengths_of(rows), packing, static_cast<std::uint64_t>(job.options.run.seed), state.round,
                      state.step - state.step_in_round + 1, train.steps_per_round);
}

}  // namespace selvage
