// SPDX-License-Identifier: Apache-2.0
// Writing checkpoints and models: few ranks open the file, all ranks bring them the pieces of the optimizer's shards,
// parameter by parameter, so that no rank holds more than a few pieces beside its own shard.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "io/file_writer.h"
#include "io/folder_group.h"
#include "io/regrouping.h"
#include "io/tokenizer_group.h"

namespace selvage::io {
namespace {

// Bytes of a parameter that a writer holds at a time.
constexpr std::int64_t piece_bytes = std::int64_t{64} << 20;
constexpr char const* parameters_description = "a parameter of the model, in its global shape";

struct Writers {
    std::unique_ptr<Communicator> group;  // nullptr on ranks that do not write
    std::vector<int> ranks;               // of all writers, in the group's order
};

Writers choose_writers(Communicator& all, std::int64_t writers) {
    bool mine = false;
    if (writers <= 0) {
        mine = all.split_by_node()->rank() == 0;
    } else {
        std::int64_t const count = std::min<std::int64_t>(writers, all.size());
        for (std::int64_t i = 0; i < count; ++i) mine = mine || i * all.size() / count == all.rank();
    }
    Writers out{all.split(mine ? 0 : -1, all.rank()), {}};
    std::uint8_t const flag = mine;
    std::vector<std::uint8_t> flags(static_cast<std::size_t>(all.size()));
    all.all_gather(std::as_bytes(std::span(&flag, 1)), std::as_writable_bytes(std::span(flags)));
    for (int r = 0; r < all.size(); ++r)
        if (flags[static_cast<std::size_t>(r)] != 0) out.ranks.push_back(r);
    return out;
}

// A parameter as rows of its first dim, and who writes which of them when.
class RowPlan {
  public:
    RowPlan(ParameterSpec const& parameter, std::size_t writers) : writers_(writers) {
        for (int i = 0; i < parameter.shape.rank(); ++i) dims_.push_back(parameter.shape[i]);
        rows_ = dims_.empty() ? 1 : dims_[0];
        row_elements_ = rows_ > 0 ? parameter.shape.elements() / rows_ : 0;
        // Whole chunks, so that no chunk has two writers.
        std::int64_t const chunk_rows = dims_.empty() ? 1 : chunk_shape(dims_, sizeof(float))[0];
        BlockSplit const split(rows_, chunk_rows, static_cast<std::int64_t>(writers));
        std::int64_t most = 0;
        for (std::size_t w = 0; w < writers; ++w) {
            shares_.push_back(split.part(static_cast<std::int64_t>(w)));
            most = std::max(most, shares_.back().size());
        }
        std::int64_t const row_bytes = std::max<std::int64_t>(1, row_elements_ * 4);
        step_ = std::max<std::int64_t>(1, piece_bytes / row_bytes / chunk_rows) * chunk_rows;
        steps_ = (most + step_ - 1) / step_;
    }

    Dims const& dims() const { return dims_; }
    std::int64_t steps() const { return steps_; }
    Range rows(std::size_t writer, std::int64_t step) const {
        Range const share = shares_[writer];
        return share.intersect({share.begin + step * step_, share.begin + (step + 1) * step_});
    }
    // The same in elements, by writer.
    std::vector<Range> elements(std::int64_t step) const {
        std::vector<Range> all;
        for (std::size_t w = 0; w < writers_; ++w) {
            Range const r = rows(w, step);
            all.push_back({r.begin * row_elements_, r.end * row_elements_});
        }
        return all;
    }
    std::int64_t row_elements() const { return row_elements_; }

  private:
    std::size_t writers_;
    Dims dims_;
    std::int64_t rows_ = 0, row_elements_ = 0, step_ = 1, steps_ = 0;
    std::vector<Range> shares_;
};

void write_state(FileWriter& file, RunState const& state) {
    file.group("/state");
    auto const scalar = [&](std::string const& name, std::int64_t value) {
        file.array(name, Element::i64, column_of(file.format(), name).notes, {}, &value);
    };
    scalar("/state/step", state.step);
    scalar("/state/round", state.round);
    scalar("/state/sweep", static_cast<std::int64_t>(state.phase));
    scalar("/state/cursor", state.cursor);
    scalar("/state/step_in_round", state.step_in_round);
    for (auto const& [table, rows] : state.table_rows)
        file.array("/state/rows_" + table, Element::i64, {"rows of table " + table + " of run.h5 at this moment", "1"},
                   {}, &rows);
}

// One dataset per parameter in `group`. `values(parameter, plan, step)` gives this rank's rows of a step; called on
// every rank.
template <class Parameters, class Values>
void write_group(Communicator& all, Writers const& writers, FileWriter* file, Parameters const& parameters,
                 std::string_view group, std::string const& description, Values&& values) {
    for (auto const& parameter : parameters) {
        RowPlan const plan(spec_of(parameter), writers.ranks.size());
        std::string const name = fmt::format("{}/{}", group, spec_of(parameter).name);
        Handle dataset;
        agree(all, [&] {
            if (file != nullptr) dataset = file->create_floats(name, {description, "1"}, plan.dims());
        });
        for (std::int64_t step = 0; step < plan.steps(); ++step) {
            auto const rows = values(parameter, plan, step);
            agree(all, [&] {
                if (file == nullptr) return;
                auto const me = static_cast<std::size_t>(writers.group->rank());
                file->write_rows(dataset, name, plan.dims(), plan.rows(me, step), rows.data());
            });
        }
    }
}

std::int64_t content_bytes(CheckpointInfo const& info, std::int64_t floats) {
    return floats * 4 + tokenizer_bytes(info.tokenizer) + folder_bytes(info.folder) +
           static_cast<std::int64_t>(info.deck.size() + info.model.size());
}

// All groups of floats, from what the ranks hold: `values` are the elements `held` of the parameters.
void write_shards(Communicator& all, Writers const& writers, FileWriter* file, ParameterSet const& parameters,
                  Range held, TensorView values, OptimizerShard const* moments) {
    Regrouping regrouping(all, writers.ranks, parameters, {held, parameters.rank()});
    auto const write = [&](TensorView mine, std::string_view group, std::string const& description) {
        FloatReader reader(mine, parameters.device());
        write_group(all, writers, file, parameters.parameters(), group, description,
                    [&](Parameter const& parameter, RowPlan const& plan, std::int64_t step) {
                        return regrouping.bring(reader, parameter, plan.elements(step));
                    });
    };
    write(values, parameters_group, parameters_description);
    if (moments == nullptr) return;
    write(moments->first_moment, first_moment_group, "AdamW's running mean of the gradient");
    write(moments->second_moment, second_moment_group, "AdamW's running mean of the squared gradient");
}

// What rank 0 says, on all ranks: differing metadata would damage the file.
CheckpointInfo agreed_info(Communicator& all, CheckpointInfo info) {
    info.deck = broadcast_text(all, std::move(info.deck), 0);
    info.model = broadcast_text(all, std::move(info.model), 0);
    info.data_digest = broadcast_text(all, std::move(info.data_digest), 0);
    info.folder = agreed_folder(all, std::move(info.folder));
    RunState& state = info.state;
    std::vector<std::int64_t> numbers = {
        state.step,   state.round,         static_cast<std::int64_t>(state.phase),
        state.cursor, state.step_in_round, static_cast<std::int64_t>(state.table_rows.size())};
    all.broadcast(std::as_writable_bytes(std::span(numbers)), 0);
    std::vector<std::pair<std::string, std::int64_t>> tables(state.table_rows.begin(), state.table_rows.end());
    tables.resize(static_cast<std::size_t>(numbers[5]));
    for (auto& [table, rows] : tables) {
        table = broadcast_text(all, table, 0);
        all.broadcast(std::as_writable_bytes(std::span(&rows, 1)), 0);
    }
    state = {numbers[0], numbers[1], static_cast<Phase>(numbers[2]),
             numbers[3], numbers[4], {tables.begin(), tables.end()}};
    return info;
}

// Opens the file on the writers, with all that is in it beside floats. nullptr on other ranks. Collective.
std::unique_ptr<FileWriter> start_file(Communicator& all, Writers const& writers, Path const& path,
                                       CheckpointInfo const& info, bool is_checkpoint, std::int64_t floats,
                                       std::int64_t datasets) {
    std::unique_ptr<FileWriter> file;
    datasets += 16 + static_cast<std::int64_t>(info.folder.files.size());
    agree(all, [&] {
        if (!writers.group) return;
        file = std::make_unique<FileWriter>(
            path, is_checkpoint ? "selvage-checkpoint" : "selvage-model",
            FileWriter::Options{writers.group.get(), expected_file_bytes(content_bytes(info, floats), datasets)});
        Attributes attributes;
        attributes.text["model"] = info.model;
        if (!info.data_digest.empty()) attributes.text["data_digest"] = info.data_digest;
        file->root_attributes(info.deck, attributes);
        write_tokenizer(*file, info.tokenizer);
        if (!info.folder.empty()) write_folder(*file, info.folder);
        if (is_checkpoint) {
            write_state(*file, info.state);
            for (std::string const group :
                 {"/optimizer", "/optimizer/first_moment", "/optimizer/second_moment", "/optimizer/master"})
                file->group(group);
        }
        file->group(std::string(parameters_group));
    });
    return file;
}

std::int64_t write_all(Communicator& all, Path const& path, CheckpointInfo const& given, ParameterSet const& parameters,
                       Range held, TensorView values, OptimizerShard const* shard, std::int64_t writers_wanted) {
    CheckpointInfo const info = agreed_info(all, given);
    Writers const writers = choose_writers(all, writers_wanted);
    std::int64_t const groups = shard != nullptr ? 3 : 1;
    auto const file = start_file(all, writers, path, info, shard != nullptr, groups * parameters.element_count(),
                                 groups * static_cast<std::int64_t>(parameters.parameters().size()));
    write_shards(all, writers, file.get(), parameters, held, values, shard);
    std::int64_t bytes = 0;
    agree(all, [&] {
        if (!file) return;
        // Computing in fp32, the master copy is the parameter itself.
        if (shard != nullptr)
            for (Parameter const& parameter : parameters.parameters())
                file->hard_link(fmt::format("{}/{}", parameters_group, parameter.spec.name),
                                fmt::format("{}/{}", master_group, parameter.spec.name));
        bytes = file->commit();
    });
    return max_over(all, bytes);
}

void write_from_source(Communicator& all, Path const& path, CheckpointInfo const& given,
                       std::vector<ParameterSpec> const& parameters, RowSource const& source) {
    CheckpointInfo const info = agreed_info(all, given);
    Writers const writers = choose_writers(all, all.size());
    std::int64_t floats = 0;
    for (ParameterSpec const& parameter : parameters) floats += parameter.shape.elements();
    auto const file = start_file(all, writers, path, info, false, floats, static_cast<std::int64_t>(parameters.size()));
    auto const me = static_cast<std::size_t>(writers.group->rank());
    write_group(all, writers, file.get(), parameters, parameters_group, parameters_description,
                [&](ParameterSpec const& parameter, RowPlan const& plan, std::int64_t step) {
                    Range const rows = plan.rows(me, step);
                    std::vector<float> values(static_cast<std::size_t>(rows.size() * plan.row_elements()));
                    agree(all, [&] {
                        if (!values.empty()) source(parameter, rows, values.data());
                    });
                    return values;
                });
    agree(all, [&] { file->commit(); });
}

}  // namespace

std::int64_t write_checkpoint(Communicator& ranks, Path const& path, CheckpointInfo const& info,
                              ParameterSet const& parameters, TensorView values, OptimizerShard const& shard,
                              std::int64_t writers) {
    return write_all(ranks, path, info, parameters, shard.shard, values, &shard, writers);
}

void write_model(IoThread& io, Path const& path, CheckpointInfo const& info, ParameterSet const& parameters) {
    parameters.device().synchronize();
    io.call([&] {
        Communicator& all = io.communicator();
        // Where the parameters are whole they come from the first rank of each tensor rank.
        Range held = parameters.held();
        if (all.split(parameters.rank(), all.rank())->rank() != 0 && parameters.is_whole()) held = {};
        write_all(all, path, info, parameters, held, parameters.values_of(held), nullptr, 0);
    });
}

void write_model(IoThread& io, Path const& path, CheckpointInfo const& info,
                 std::vector<ParameterSpec> const& parameters, RowSource const& source) {
    io.call([&] { write_from_source(io.communicator(), path, info, parameters, source); });
}

}  // namespace selvage::io
