// SPDX-License-Identifier: Apache-2.0
// Models from and to the folders of the transformers library.
#include <charconv>
#include <optional>

#include "app/commands/commands.h"
#include "app/session.h"
#include "base/log.h"
#include "base/timer.h"

namespace selvage {
namespace {

std::int64_t parse_number(std::string const& option, std::string const& text, std::int64_t least) {
    std::int64_t number = least - 1;
    auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end != text.data() + text.size() || number < least || number > (1 << 24))
        fail(ExitCode::usage, "--{} is '{}'; give a whole number from {} on", option, text, least);
    return number;
}

std::string rate(std::int64_t bytes, double seconds) {
    auto const size = static_cast<double>(bytes);
    return fmt::format("{} in {:.1f} s, {}/s", format_bytes(size), seconds, format_bytes(size / seconds));
}

int import(MpiSession& mpi, Arguments const& arguments) {
    std::string const path = arguments.positional()[0];
    std::string const output = arguments.positional()[1];
    huggingface::FolderOptions options;
    options.ignored = arguments.all("ignore");
    if (arguments.flag("end-of-answer"))
        options.end_of_answer =
            static_cast<Token>(parse_number("end-of-answer", arguments.value("end-of-answer", ""), 0));
    auto const io = open_io(mpi);
    auto const world = mpi.world();
    Timer const timer;
    std::optional<huggingface::ModelFolder> folder;
    agree(*world, [&] { folder.emplace(path, options); });
    io::write_model(
        *io, output, folder->info(), folder->parameters(),
        [&](ParameterSpec const& parameter, Range rows, float* into) { folder->read(parameter, rows, into); });
    if (world->rank() != 0) return 0;
    for (std::string const& name : folder->left_behind()) log::info("{} stays behind in {}", name, path);
    TokenizerTable const& tokenizer = folder->info().tokenizer;
    log::info("{}: weights of {}, tokenizer {} with {} ids, an answer ends with {}", output,
              rate(folder->weight_bytes(), timer.seconds()), tokenizer.kind, tokenizer.pieces.size(),
              tokenizer.special.end_of_answer);
    return 0;
}

// As decks name types, and as safetensors does.
std::string parse_dtype(std::string const& text) {
    if (text.empty()) return "";
    if (text == "f32") return "F32";
    if (text == "f16") return "F16";
    if (text == "bf16") return "BF16";
    fail(ExitCode::usage, "--dtype is '{}'; give f32, f16 or bf16", text);
}

int export_to_folder(MpiSession& mpi, Arguments const& arguments) {
    std::string const path = arguments.positional()[0];
    std::string const output = arguments.positional()[1];
    huggingface::ExportOptions options;
    options.dtype = parse_dtype(arguments.value("dtype", ""));
    options.most_bytes = parse_number("shard-mib", arguments.value("shard-mib", "5120"), 1) << 20;
    auto const io = open_io(mpi);
    auto const world = mpi.world();
    Timer const timer;
    io::CheckpointInfo info;
    ModelConfig config;
    agree(*world, [&] {
        info = io::read_checkpoint_info(*io, path);
        config = parse_model_config(info.model, path);
        validate(config);
    });
    std::int64_t const bytes = huggingface::export_model(*io, *world, path, info, config, output, options);
    log::info("{}: weights of {}", output, rate(bytes, timer.seconds()));
    if (world->rank() == 0 && info.folder.empty())
        log::info("{} came from no folder: {}", path,
                  info.tokenizer.model.empty() ? "there are no tokenizer files for it"
                                               : "config.json is new, tokenizer.model is that of its data");
    return 0;
}

}  // namespace

Command import_command() {
    return {{"import",
             "HF_DIR MODEL.h5",
             2,
             2,
             "a model from a Hugging Face folder (parallel)",
             {{"ignore", "KEY", "a key of config.json that changes nothing", true},
              {"end-of-answer", "ID", "the token that ends an answer, where the folder names none or another"}}},
            import};
}

Command export_command() {
    return {{"export",
             "MODEL.h5 HF_DIR",
             2,
             2,
             "a model or checkpoint as a Hugging Face folder (parallel)",
             {{"dtype", "f32/f16/bf16", "of the weights; default: as in the folder that the model came from, else f32"},
              {"shard-mib", "MIB", "largest file of weights (default 5120)"}}},
            export_to_folder};
}

}  // namespace selvage
