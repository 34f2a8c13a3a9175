// SPDX-License-Identifier: Apache-2.0
#include "samples.h"

#include <mpi.h>
#include <sys/mount.h>

#include <algorithm>
#include <fstream>

#include "io/file_reader.h"
#include "tensor/host_copy.h"

namespace selvage::io::test {

std::unique_ptr<IoThread> io_thread(Communicator& world) {
    int provided = 0;
    MPI_Query_thread(&provided);
    return std::make_unique<IoThread>(world, provided == MPI_THREAD_MULTIPLE);
}

TokenizerTable tokenizer() {
    TokenizerTable table;
    table.kind = "bytes";
    for (int i = 0; i < 256; ++i) table.pieces.emplace_back(1, static_cast<char>(i));
    table.pieces.emplace_back();
    table.special.end_of_answer = 256;
    table.phrases = {{"again:\n", {97, 58}}, {"\xe2\x82\xac", {}}, {" ", {32, 256, 0}}};
    return table;
}

DataFile data(std::int64_t pairs) {
    DataFile file;
    file.offsets = {0};
    for (std::int64_t i = 0; i < pairs; ++i) {
        for (std::int64_t t = 0; t < 3 + i % 7; ++t) file.tokens.push_back(static_cast<Token>((i * 31 + t) % 257));
        file.tokens.back() = 256;
        file.offsets.push_back(static_cast<std::int64_t>(file.tokens.size()));
        file.prompt_length.push_back(static_cast<std::int32_t>(1 + i % 2));
    }
    file.tokenizer = tokenizer();
    file.attributes.text["source_digest"] = "0123456789abcdef";
    file.attributes.integers["dropped_lines"] = 4;
    return file;
}

DraftsFile drafts(std::int64_t count) {
    DraftsFile file;
    file.deck = "[run]\nseed = 1\n";
    file.attributes.text["policy_digest"] = "feed";
    file.attributes.integers["policy_step"] = 12;
    file.attributes.numbers["temperature"] = 0.75;
    for (std::int64_t i = 0; i < count; ++i) {
        Draft draft;
        draft.example = i / 2;
        draft.sample = static_cast<std::int32_t>(i % 2);
        draft.finish = static_cast<FinishReason>(i % 3);
        for (std::int64_t t = 0; t < i % 5; ++t) {
            draft.tokens.push_back(static_cast<Token>(t + i));
            draft.logprob.push_back(-0.25F * static_cast<float>(t + 1));
            draft.sampled_logprob.push_back(-0.5F * static_cast<float>(t + 1));
        }
        file.drafts.push_back(draft);
    }
    return file;
}

WovenFile woven(std::int64_t rows) {
    WovenFile file;
    file.deck = "[run]\nseed = 1\n";
    file.attributes.integers["kept"] = rows;
    for (std::int64_t i = 0; i < rows; ++i) {
        Woven row;
        row.example = i;
        row.sample = 1;
        row.method = static_cast<Method>(i % 3);
        row.answer_start = 2;
        for (std::int64_t t = 0; t < 4 + i % 3; ++t) {
            row.input_tokens.push_back(static_cast<Token>(t));
            row.target_tokens.push_back(static_cast<Token>(t + 1));
            row.loss_weight.push_back(t >= 2 ? 1.0F : 0.0F);
            row.origin.push_back(t < 2 ? Origin::prompt : Origin::generated);
            row.target_origin.push_back(t < 2 ? Origin::prompt : Origin::gold);
        }
        file.rows.push_back(row);
        file.uses.push_back({i + 1, static_cast<std::int32_t>(i % 4), 0, 5, i});
    }
    return file;
}

ScoresFile scores(std::int64_t sequences) {
    ScoresFile file;
    file.offsets = {0};
    for (std::int64_t i = 0; i < sequences; ++i) {
        for (std::int64_t t = 0; t < 1 + i % 4; ++t) {
            file.tokens.push_back(static_cast<Token>(t));
            file.logprob.push_back(t == 0 ? 0.0F : -1.5F);
        }
        file.offsets.push_back(static_cast<std::int64_t>(file.tokens.size()));
    }
    file.attributes.text["model"] = "m.h5";
    return file;
}

CheckpointInfo checkpoint_info() {
    CheckpointInfo info;
    info.deck = "[run]\nseed = 7 # \xC3\xA4\n";
    info.model = "layers = 2\nhidden = 37\n";
    info.tokenizer = tokenizer();
    info.state = {400, 3, Phase::train, 1234, 17, {{"steps", 400}, {"sweeps", 9}, {"evaluations", 3}}};
    info.folder.files = {
        {"config.json", "{\"model_type\": \"none\"}\n"}, {"empty", ""}, {"with space.bin", std::string("\0\xff\n", 3)}};
    info.folder.dtypes = {{"model.norm.weight", "F16"}, {"a tensor with spaces", "BF16"}};
    return info;
}

namespace {

std::vector<ParameterSpec> specs_on(int tensor) {
    auto const split = [&](std::int64_t size, int parts) {
        std::vector<Range> out;
        for (int r = 0; r < tensor; ++r) out.push_back(EvenSplit(size, parts).part(r * parts / tensor));
        return out;
    };
    std::vector<ParameterSpec> specs = {{"embedding.weight", {301, 37}}, {"layers.0.big", {700, 1000}},
                                        {"layers.0.norm", {37}},         {"layers.0.bias", {41}},
                                        {"layers.0.shared", {36, 5}},    {"layers.1.odd", {3, 5, 7}},
                                        {"layers.1.wide", {2, 300001}},  {"one", {1}}};
    if (tensor == 1) return specs;
    specs[0].cut = {0, split(301, tensor)};
    specs[1].cut = {1, split(1000, tensor)};
    specs[3].cut = {0, split(41, tensor)};
    specs[4].cut = {0, split(36, tensor / 2)};  // two ranks each
    specs[6].cut = {1, split(300001, tensor)};
    return specs;
}

// Where element i of what `rank` holds is in the whole parameter.
std::int64_t whole_index(Parameter const& parameter, int rank, std::int64_t i) {
    Placement const place = placement_on(parameter.spec, rank);
    return place.first + i / place.columns * place.stride + i % place.columns;
}

}  // namespace

Model::Model(Communicator* ranks, int tensor, std::string const& device, Values values)
    : device_(make_device(device)), arena_(*device_) {
    int const size = ranks != nullptr ? ranks->size() : 1, rank = ranks != nullptr ? ranks->rank() : 0;
    // Not in the order of the ranks: files must not care.
    int const data = size / tensor, part = data - 1 - rank / tensor;
    bool const all = values == Values::all;
    parameters_ =
        std::make_unique<ParameterSet>(arena_, specs_on(tensor), rank % tensor, tensor, all ? 0 : part, all ? 1 : data);
    shard_ = parameters_->shards(data)[static_cast<std::size_t>(part)];
    std::vector<float> first(static_cast<std::size_t>(shard_.size())), second(first.size());
    parameters_->initialise(5);
    ParameterSet const whole(arena_, specs_on(1));
    for (Parameter const& parameter : parameters_->parameters())
        for (std::int64_t i = 0; i < parameter.shape.elements(); ++i) {
            if (!shard_.contains(parameter.offset + i)) continue;
            auto const at = static_cast<std::size_t>(parameter.offset + i - shard_.begin);
            std::int64_t const index =
                whole.find(parameter.spec.name).offset + whole_index(parameter, rank % tensor, i);
            first[at] = static_cast<float>(index + 1);
            second[at] = 0.5F * static_cast<float>(index + 1);
        }
    Stream stream = arena_.stream();
    first_ = Tensor(arena_, "first moment", DType::f32, {shard_.size()});
    second_ = Tensor(arena_, "second moment", DType::f32, {shard_.size()});
    copy_to_device(first_, first.data(), stream);
    copy_to_device(second_, second.data(), stream);
}

OptimizerShard Model::shard() { return {shard_, first_, second_}; }

std::int64_t Model::write(IoThread& io, Path const& path, std::int64_t writers) {
    return write(io, path, checkpoint_info(), shard(), writers);
}

std::int64_t Model::write(IoThread& io, Path const& path, CheckpointInfo const& info, OptimizerShard const& shard,
                          std::int64_t writers) {
    return io.call([&] {
        return write_checkpoint(io.communicator(), path, info, *parameters_, parameters_->values_of(shard.shard), shard,
                                writers);
    });
}

void Model::clear() {
    for (TensorView const flat : {parameters_->values(), first_.view(), second_.view()})
        FloatWriter(flat, *device_).fill(-1);
}

bool Model::is_whole() {
    Model fresh;
    FloatReader value_reader(parameters_->values(), *device_), first_reader(first_, *device_),
        second_reader(second_, *device_);
    auto const values = value_reader.read({0, value_reader.size()});
    auto const first = first_reader.read({0, shard_.size()}), second = second_reader.read({0, shard_.size()});
    float const* const fresh_values = fresh.parameters().values().as<float>();
    float const* const fresh_first = fresh.first_.view().as<float>();
    float const* const fresh_second = fresh.second_.view().as<float>();
    bool whole = true;
    for (Parameter const& parameter : parameters_->parameters())
        for (std::int64_t i = 0; i < parameter.shape.elements(); ++i) {
            std::int64_t const at = parameter.offset + i;
            std::int64_t const of_fresh =
                fresh.parameters().find(parameter.spec.name).offset + whole_index(parameter, parameters_->rank(), i);
            if (Range const held = parameters_->held(); held.contains(at))
                whole = whole && values[static_cast<std::size_t>(at - held.begin)] == fresh_values[of_fresh];
            if (!shard_.contains(at)) continue;
            auto const moment = static_cast<std::size_t>(at - shard_.begin);
            whole = whole && first[moment] == fresh_first[of_fresh] && second[moment] == fresh_second[of_fresh];
        }
    return whole;
}

SmallDisk::SmallDisk(Path folder, std::int64_t bytes) : folder_(std::move(folder)) {
    std::filesystem::create_directories(folder_);
    mounted_ = mount("selvage-test", folder_.c_str(), "tmpfs", 0, fmt::format("size={}", bytes).c_str()) == 0;
}

SmallDisk::~SmallDisk() {
    if (mounted_) umount2(folder_.c_str(), MNT_DETACH);
}

void fill_run_log(RunLog& log, std::int64_t from, std::int64_t to) {
    for (std::int64_t i = from; i < to; ++i) {
        log.add(StepRow{i + 1, i / 4 + 1, 2.0 / static_cast<double>(i + 1), 0.5, 1e-3, 100 + i, 0.25});
        SweepRow sweep{i % 2 == 0 ? "generate" : "train", i + 1, 10 * i, i, 0, 1, 1.5, 0.9, {}};
        // Two ranks, later one; some sweeps are not measured by rank.
        if (i == 1) sweep.busy_by_rank = {0.5, 1.0};
        if (i == 3) sweep.busy_by_rank = {0.25};
        log.add(sweep);
        EvaluationRow row{i + 1, i, {}};
        row.metrics["forced_nll"] = {1.0 + static_cast<double>(i), 0.5, 1.5, {}, {}};
        // One metric that some evaluations lack, with bins whose number varies.
        if (i % 2 == 0)
            row.metrics["context_gap"] = {0.1, 0.0, 0.2, std::vector<double>(static_cast<std::size_t>(1 + i), 0.5),
                                          std::vector<std::int64_t>(static_cast<std::size_t>(1 + i), 8)};
        log.add(row);
    }
}

std::vector<Path> write_all_kinds(IoThread& io, Path const& folder, std::int64_t size) {
    std::vector<Path> const paths = {folder / "data.h5", folder / "drafts.h5", folder / "woven.h5",
                                     folder / "scores.h5", folder / "run.h5"};
    write_data(io, paths[0], data(size));
    write_drafts(io, paths[1], drafts(size));
    write_woven(io, paths[2], woven(size));
    write_scores(io, paths[3], scores(size));
    RunLog log(io, paths[4], "[run]\n", {});
    fill_run_log(log, 0, size);
    if (size > 0) log.event("start", "on 2 ranks \xE2\x9C\x93");
    log.flush();
    return paths;
}

std::string content_of(IoThread& io, Path const& path) {
    return io.call([&] {
        FileReader const file(path);
        std::string content;
        for (std::string const& name : file.datasets()) {
            if (file.integer_attribute(name, "volatile").value_or(0) == 1) continue;
            content += name + " " + file.summary_of(name) + "\n";
            std::string const type = file.summary_of(name).substr(0, file.summary_of(name).find(' '));
            for (Element const element : {Element::u8, Element::i32, Element::i64, Element::f32, Element::f64}) {
                if (name_of(element) != type) continue;
                auto const dims = file.dims_of(name, element, -1);
                std::size_t bytes = size_of(element);
                for (std::int64_t const dim : dims) bytes *= static_cast<std::size_t>(dim);
                std::string values(bytes, '\0');
                if (bytes > 0) file.read(name, element, dims, {0, dims.empty() ? 1 : dims[0]}, values.data());
                content += values;
            }
            if (type == "fixed-length")
                for (std::string const& text : file.texts(name)) content += text + "\n";
        }
        return content;
    });
}

std::string read_bytes(Path const& path) {
    std::ifstream file(path, std::ios::binary);
    return std::string((std::istreambuf_iterator<char>(file)), {});
}

void write_bytes(Path const& path, std::string const& bytes) {
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace selvage::io::test
