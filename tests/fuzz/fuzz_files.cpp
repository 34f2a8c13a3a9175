// SPDX-License-Identifier: Apache-2.0
// HDF5 files: our own (a digest covers every byte, so that no change passes) and data files as other programs write
// them, without a digest.
#include <hdf5.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/log.h"
#include "comm/mpi_session.h"
#include "device/device.h"
#include "fuzz/driver.h"
#include "io/files.h"
#include "io/run_log.h"

namespace {

using namespace selvage;
namespace fs = std::filesystem;

std::string read_whole(fs::path const& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void write_whole(fs::path const& path, std::string const& bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

fs::path scratch_folder() {
    std::string pattern = (fs::temp_directory_path() / "selvage-fuzz-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make " + pattern);
    return pattern;
}

void write_our_files(fs::path const& folder) {
    int argc = 0;
    char** argv = nullptr;
    MpiSession session(argc, argv);
    auto const world = session.world();
    io::IoThread thread(*world, false);

    io::DataFile data;
    data.tokens = {1, 2, 3, 4, 5, 6};
    data.offsets = {0, 4, 6};
    data.prompt_length = {2, 1};
    data.tokenizer = open_tokenizer("bytes")->table();
    data.attributes.text["source"] = "a.jsonl";
    io::write_data(thread, folder / "data.h5", data);

    io::DraftsFile drafts;
    drafts.drafts.push_back({0, 0, 0, FinishReason::length, {1, 2, 3}, {-1, -2, -3}, {-1, -1, -1}});
    drafts.deck = "[run]\nseed = 1\n";
    io::write_drafts(thread, folder / "drafts.h5", drafts);

    io::WovenFile woven;
    Woven row;
    row.input_tokens = {1, 2};
    row.target_tokens = {2, 3};
    row.loss_weight = {0, 1};
    row.origin = {Origin::prompt, Origin::gold};
    row.target_origin = {Origin::gold, Origin::gold};
    row.answer_start = 1;
    woven.rows.push_back(row);
    woven.uses.push_back({1, 0, 0, 0, 0});
    io::write_woven(thread, folder / "woven.h5", woven);

    auto const device = make_device("cpu");
    Arena arena(*device);
    ParameterSet const parameters(arena, {{"a.weight", {3, 2}}, {"b", {5}}});
    io::CheckpointInfo info;
    info.model = "[model]\nlayers = 1\n";
    info.tokenizer = data.tokenizer;
    io::write_model(thread, folder / "model.h5", info, parameters);

    io::RunLog log(thread, folder / "run.h5", drafts.deck, {});
    log.add(io::StepRow{1, 1, 2.5, 1, 1e-3, 10, 0.1});
    log.add(io::SweepRow{"train", 1, 10, 2, 0, 0, 0.1, 0.1});
    io::EvaluationRow evaluation;
    evaluation.metrics["gap"] = {0.5, 0.25, 0.75, {0.5, 0.25}, {2, 1}};
    log.add(evaluation);
    log.event("start", "here");
    log.flush();
}

template <class T>
void write_plain(hid_t file, char const* name, hid_t type, std::vector<T> const& values, bool compressed) {
    hsize_t const size = values.size();
    hid_t const space = H5Screate_simple(1, &size, nullptr);
    hid_t const plist = H5Pcreate(H5P_DATASET_CREATE);
    hsize_t const chunk = std::min<hsize_t>(4, size);
    if (compressed) {
        H5Pset_chunk(plist, 1, &chunk);
        H5Pset_deflate(plist, 6);
    }
    hid_t const set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, plist, H5P_DEFAULT);
    H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
    H5Dclose(set);
    H5Pclose(plist);
    H5Sclose(space);
}

// What a short script of another program leaves behind. The old file format has no checksums in its metadata.
void write_foreign(fs::path const& path, H5F_libver_t version, bool compressed) {
    hid_t const access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_libver_bounds(access, version, H5F_LIBVER_LATEST);
    hid_t const file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
    hid_t const one = H5Screate(H5S_SCALAR);
    hid_t const text = H5Tcopy(H5T_C_S1);
    H5Tset_size(text, H5T_VARIABLE);
    hid_t attribute = H5Acreate2(file, "format", text, one, H5P_DEFAULT, H5P_DEFAULT);
    char const* const format = "selvage-data";
    H5Awrite(attribute, text, &format);
    H5Aclose(attribute);
    attribute = H5Acreate2(file, "format_version", H5T_STD_I64LE, one, H5P_DEFAULT, H5P_DEFAULT);
    std::int64_t const number = 1;
    H5Awrite(attribute, H5T_NATIVE_INT64, &number);
    H5Aclose(attribute);
    write_plain<std::int32_t>(file, "tokens", H5T_NATIVE_INT32, {1, 2, 3, 4, 5, 6}, compressed);
    write_plain<std::int64_t>(file, "offsets", H5T_NATIVE_INT64, {0, 4, 6}, compressed);
    write_plain<std::int32_t>(file, "prompt_length", H5T_NATIVE_INT32, {2, 1}, compressed);
    hid_t const group = H5Gcreate2(file, "tokenizer", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    write_plain<std::uint8_t>(group, "pieces", H5T_NATIVE_UINT8, {'a', 'b', 'c', 'd', 'e', 'f', 'g'}, compressed);
    write_plain<std::int64_t>(group, "piece_offsets", H5T_NATIVE_INT64, {0, 1, 2, 3, 4, 5, 6, 7}, compressed);
    H5Gclose(group);
    H5Tclose(text);
    H5Sclose(one);
    H5Fclose(file);
    H5Pclose(access);
}

// In a process of its own: MPI must not be up when the cases' process is forked.
std::vector<std::string> make_seeds() {
    fs::path const folder = scratch_folder();
    pid_t const process = fork();
    if (process == 0) {
        write_our_files(folder);
        write_foreign(folder / "old.h5", H5F_LIBVER_EARLIEST, false);
        write_foreign(folder / "old_compressed.h5", H5F_LIBVER_EARLIEST, true);
        write_foreign(folder / "new.h5", H5F_LIBVER_LATEST, true);
        _exit(0);
    }
    int status = 0;
    waitpid(process, &status, 0);
    std::vector<std::string> seeds;
    for (char const* name : {"data", "drafts", "woven", "model", "run", "old", "old_compressed", "new"})
        seeds.push_back(read_whole(folder / (std::string(name) + ".h5")));
    // Our data file without its digest.
    seeds.push_back(std::string(4096, '\0') + seeds[0].substr(4096));
    fs::remove_all(folder);
    return seeds;
}

class Reader {
  public:
    explicit Reader(std::vector<std::string> seeds)
        : seeds_(std::move(seeds)),
          session_(argc_, argv_),
          world_(session_.world()),
          thread_(*world_, false),
          path_(fs::temp_directory_path() / fmt::format("selvage-fuzz-{}.h5", getpid())) {}

    void operator()(std::string const& input) {
        write_whole(path_, input);
        int accepted = 0;
        std::string message;
        auto const attempt = [&](auto&& read) {
            try {
                read();
                ++accepted;
            } catch (Error const& error) {
                if (error.code() != ExitCode::bad_data) throw;
                message = error.what();
            }
        };
        attempt([&] { io::read_data(thread_, path_); });
        attempt([&] { io::read_drafts(thread_, path_); });
        attempt([&] { io::read_woven(thread_, path_); });
        attempt([&] { io::read_checkpoint_info(thread_, path_); });
        attempt([&] { io::describe_file(thread_, path_); });
        attempt([&] { io::check_file(thread_, path_); });
        fs::remove(path_);
        if (input.starts_with("SELVAGE\n") && std::find(seeds_.begin(), seeds_.end(), input) == seeds_.end())
            fuzz::require(accepted == 0, "a changed file of ours was read");
        if (!message.empty() && accepted == 0) fail(ExitCode::bad_data, "{}", message);
    }

  private:
    std::vector<std::string> seeds_;
    int argc_ = 0;
    char** argv_ = nullptr;
    MpiSession session_;
    std::unique_ptr<Communicator> world_;
    io::IoThread thread_;
    fs::path path_;
};

}  // namespace

int main(int argc, char** argv) {
    log::set_level(log::Level::error);
    std::vector<std::string> const seeds = make_seeds();
    fuzz::Corpus const corpus{
        seeds, {"OHDR", "OCHK", "FRHP", "TREE", "SNOD", "HEAP", "BTHD", "FADB", "GCOL"}, 4, "libhdf5"};
    return fuzz::run(argc, argv, "files", corpus, [&] {
        auto const reader = std::make_shared<Reader>(seeds);
        return [reader](std::string const& input) { (*reader)(input); };
    });
}
