// SPDX-License-Identifier: Apache-2.0
#include "io/schema.h"

#include <map>

#include "base/error.h"

namespace selvage::io {
namespace {

using enum Element;
using Columns = std::vector<Column>;

Columns join(Columns first, Columns const& second) {
    first.insert(first.end(), second.begin(), second.end());
    return first;
}

Columns const tokenizer_columns = {
    {"/tokenizer/pieces", u8, {"bytes of all pieces, one after the other", "byte"}},
    {"/tokenizer/piece_offsets", i64, {"piece i is bytes piece_offsets[i] to piece_offsets[i+1] - 1", "byte"}},
    {"/tokenizer/model", u8, {"serialized model of the tokenizer's library, where it has one", "byte"}},
};

Columns const data_columns = join(
    {
        {"/tokens", i32, {"token ids of prompt and answer of every pair, one after the other", "token id"}},
        {"/offsets", i64, {"pair i is tokens offsets[i] to offsets[i+1] - 1", "token"}},
        {"/prompt_length", i32, {"tokens of the pair's prompt; the rest is its answer", "token"}},
    },
    tokenizer_columns);

Columns const drafts_columns = {
    {"/tokens", i32, {"token ids of the answers, end-of-answer included", "token id"}},
    {"/offsets", i64, {"draft i is tokens offsets[i] to offsets[i+1] - 1", "token"}},
    {"/example", i64, {"row in the data, counted through the files of data.train in order", "1"}},
    {"/sample", i32, {"number of the draft among those of its example", "1"}},
    {"/turn", i32, {"correction turns before this draft", "1"}},
    {"/logprob", f32, {"log-probability of each token under the model itself", "nat"}},
    {"/sampled_logprob", f32, {"log-probability of each token under the sampler that drew it", "nat"}},
    {"/finish_reason", u8, {"why the draft ends: 0 end-of-answer, 1 length, 2 context", "1"}},
};

Columns const woven_columns = {
    {"/input_tokens", i32, {"what the model reads at each position", "token id"}},
    {"/target_tokens", i32, {"what the model must predict at each position", "token id"}},
    {"/loss_weight", f32, {"weight of the prediction at each position", "1"}},
    {"/origin", u8, {"where the input token came from: 0 prompt, 1 gold, 2 generated, 3 template", "1"}},
    {"/target_origin", u8, {"where the target token came from: 0 prompt, 1 gold, 2 generated, 3 template", "1"}},
    {"/offsets", i64, {"row i is positions offsets[i] to offsets[i+1] - 1", "token"}},
    {"/example", i64, {"row in the data, counted through the files of data.train in order", "1"}},
    {"/sample", i32, {"number of the draft among those of its example", "1"}},
    {"/answer_start", i32, {"first position of the row with loss", "token"}},
    {"/method", u8, {"how the row was made: 0 none, 1 bash, 2 rac", "1"}},
    {"/uses/step", i64, {"optimizer step that trained the row", "step"}},
    {"/uses/lane", i32, {"lane of that step", "1"}},
    {"/uses/row", i32, {"packed row of that step", "1"}},
    {"/uses/offset", i32, {"position in the packed row where the row begins", "token"}},
    {"/uses/index", i64, {"the row of this file that was trained", "1"}},
};

Columns const scores_columns = {
    {"/tokens", i32, {"token ids of all sequences, one after the other", "token id"}},
    {"/offsets", i64, {"sequence i is tokens offsets[i] to offsets[i+1] - 1", "token"}},
    {"/logprob", f32, {"log-probability of each token given those before it; 0 for a first token", "nat"}},
};

Columns const state_columns = {
    {"/state/step", i64, {"optimizer steps done", "step"}, 0},
    {"/state/round", i64, {"the round in hand, from 1", "1"}, 0},
    {"/state/sweep",
     i64,
     {"what comes next: 0 evaluation before the first round, 1 generation, 2 training, 3 evaluation, 4 nothing", "1"},
     0},
    {"/state/cursor", i64, {"examples of the data order handed to the rounds before this one", "1"}, 0},
    {"/state/step_in_round", i64, {"optimizer steps done in the round in hand", "step"}, 0},
};

Columns const run_columns = {
    {"/steps/step", i64, {"optimizer step, from 1", "step"}},
    {"/steps/round", i64, {"round of the step, from 1", "1"}},
    {"/steps/loss", f64, {"mean over the loss weights of the step", "nat per target token"}},
    {"/steps/grad_norm", f64, {"global norm of the gradient before clipping", "1"}},
    {"/steps/learning_rate", f64, {"learning rate of the step", "1"}},
    {"/steps/target_tokens", i64, {"positions with loss", "token"}},
    {"/steps/seconds", f64, {"wall time of the step", "s", true}},
    {"/steps/skipped", u8, {"1: an outlier, the weights stayed as they were", "1"}, 1, true},
    {"/sweeps/kind", text, {"generate, weave, train or evaluate", "1"}},
    {"/sweeps/round", i64, {"round of the sweep, from 1", "1"}},
    {"/sweeps/tokens", i64, {"tokens made or read", "token"}},
    {"/sweeps/examples", i64, {"examples handled", "1"}},
    {"/sweeps/repeated", i64, {"training: uses of a row beyond its first", "1"}},
    {"/sweeps/left_over", i64, {"training: rows not used", "1"}},
    {"/sweeps/seconds", f64, {"wall time of the sweep", "s", true}},
    {"/sweeps/busy", f64, {"share of the ranks' time that was work", "1", true}},
    {"/sweeps/busy_by_rank",
     f64,
     {"share of each rank's time that was work, by sweep and rank; NaN where it was not measured", "1", true},
     2,
     true},
    {"/sweeps/communication",
     f64,
     {"training: share of the ranks' time in communication that no computation hid", "1", true},
     1,
     true},
    {"/memory/name", text, {"what blocks of memory are for", "1", true}, 1, true},
    {"/memory/bytes", i64, {"the most that they took at a time, on the rank where it was most", "B", true}, 1, true},
    {"/checkpoints/step", i64, {"optimizer steps done in it", "step", true}, 1, true},
    {"/checkpoints/bytes", i64, {"size of the file", "B", true}, 1, true},
    {"/checkpoints/stall_seconds", f64, {"time that the run waited for it", "s", true}, 1, true},
    {"/checkpoints/write_seconds", f64, {"time from its copy to the file under its name", "s", true}, 1, true},
    {"/events/time", text, {"when, in UTC (ISO 8601)", "1", true}},
    {"/events/kind", text, {"what kind of event", "1", true}},
    {"/events/text", text, {"what happened", "1", true}},
};

std::map<std::string, Columns, std::less<>> const formats = {
    {"selvage-data", data_columns},       {"selvage-drafts", drafts_columns},
    {"selvage-woven", woven_columns},     {"selvage-scores", scores_columns},
    {"selvage-model", tokenizer_columns}, {"selvage-checkpoint", join(tokenizer_columns, state_columns)},
    {"selvage-run", run_columns},
};

}  // namespace

std::size_t size_of(Element element) {
    switch (element) {
        case u8:
        case text:
            return 1;
        case i32:
        case f32:
            return 4;
        case i64:
        case f64:
            return 8;
    }
    return 0;
}

std::string_view name_of(Element element) {
    switch (element) {
        case u8:
            return "uint8";
        case i32:
            return "int32";
        case i64:
            return "int64";
        case f32:
            return "float32";
        case f64:
            return "float64";
        case text:
            return "fixed-length text";
    }
    return "?";
}

std::vector<Column> const& columns_of(std::string_view format) {
    static Columns const none;
    auto const found = formats.find(format);
    return found == formats.end() ? none : found->second;
}

Column const& column_of(std::string_view format, std::string_view name) {
    for (Column const& column : columns_of(format))
        if (column.name == name) return column;
    fail_check("column is in the schema", __FILE__, __LINE__, fmt::format("{} has no dataset {}", format, name));
}

std::vector<Column> const& metric_columns() {
    static Columns const columns = {
        {"step", i64, {"optimizer steps done before the evaluation", "step"}},
        {"round", i64, {"round after which it was made; 0 before the first", "1"}},
        {"value", f64, {"the metric over the held-out examples; NaN where it was not measured", "1"}},
        {"low", f64, {"lower end of the 95% interval", "1"}},
        {"high", f64, {"upper end of the 95% interval", "1"}},
    };
    return columns;
}

std::vector<Column> const& position_columns() {
    static Columns const columns = {
        {"value", f64, {"the metric by evaluation and position bin; NaN where no example counts", "1"}, 2},
        {"count", i64, {"examples that count, by evaluation and position bin", "1"}, 2},
    };
    return columns;
}

}  // namespace selvage::io
