// SPDX-License-Identifier: Apache-2.0
// A safetensors file, whose header may say anything about what follows it, and the index of a folder.
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "fuzz/driver.h"
#include "io/safetensors.h"

namespace {

using namespace selvage;
namespace fs = std::filesystem;

std::string with_length(std::string const& header, std::string const& values) {
    std::uint64_t const length = header.size();
    std::string file(sizeof length, '\0');
    std::memcpy(file.data(), &length, sizeof length);
    return file + header + values;
}

void write_whole(fs::path const& path, std::string const& bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// What was accepted can be read, and fills the file behind its header, whose length is the first 8 bytes.
void read_all(io::SafetensorsFile const& file, std::string const& input) {
    std::uint64_t length = 0;
    std::memcpy(&length, input.data(), sizeof length);
    auto const bytes = static_cast<std::int64_t>(input.size());
    auto const head = static_cast<std::int64_t>(sizeof length + length);
    std::int64_t values = 0;
    for (io::StoredTensor const& tensor : file.tensors()) {
        fuzz::require(tensor.begin >= head && tensor.end <= bytes, "a tensor outside of the file");
        values += tensor.end - tensor.begin;
        if (tensor.type != "F32" && tensor.type != "F16" && tensor.type != "BF16") continue;
        std::vector<float> out(static_cast<std::size_t>(tensor.elements()));
        file.read(tensor, {0, tensor.elements()}, out.data());
    }
    fuzz::require(head + values == bytes, "tensors overlap, or leave room");
}

}  // namespace

int main(int argc, char** argv) {
    std::string const one = R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})";
    std::string const several =
        R"({"__metadata__":{"format":"pt"},"w":{"dtype":"BF16","shape":[2,2],"data_offsets":[4,12]},)"
        R"("n":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"e":{"dtype":"F32","shape":[0,9],)"
        R"("data_offsets":[12,12]},"s":{"dtype":"I64","shape":[],"data_offsets":[12,20]}}  )";
    fuzz::Corpus const corpus{
        {with_length(one, std::string(24, 'x')), with_length(several, std::string(20, '\1')),
         R"({"metadata":{"total_size":24},"weight_map":{"a":"model-00001-of-00001.safetensors"}})"},
        {"\"dtype\"",
         "\"shape\"",
         "\"data_offsets\"",
         "\"F16\"",
         "\"F64\"",
         "\"F4\"",
         "[0,24]",
         "[24,0]",
         "[-1,23]",
         "-1",
         "9223372036854775807",
         "18446744073709551615",
         "4611686018427387904",
         "[4611686018427387904,4]",
         "1e3",
         "2.5",
         "null",
         "{}",
         "[]",
         ",",
         "\"a\":",
         "\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},",
         "\"../a\"",
         "\"weight_map\"",
         "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["},
    };
    return fuzz::run(argc, argv, "safetensors", corpus, [one] {
        fs::path const folder = fs::temp_directory_path() / fmt::format("selvage-fuzz-{}", getpid());
        fs::create_directories(folder);
        write_whole(folder / "model-00001-of-00001.safetensors", with_length(one, std::string(24, 'x')));
        return [folder](std::string const& input) {
            bool const is_index = input.starts_with("{");
            fs::path const path = folder / (is_index ? "model.safetensors.index.json" : "model.safetensors");
            write_whole(path, input);
            auto const remove = [&] { fs::remove(path); };
            try {
                if (is_index)
                    fuzz::require(io::SafetensorsFolder(folder).names().size() == 1, "a tensor that is not there");
                else
                    read_all(io::SafetensorsFile(path), input);
            } catch (Error const& error) {
                remove();
                // An index may name any file, most of which are not there.
                if (is_index && error.code() == ExitCode::missing_input) fail(ExitCode::bad_data, "{}", error.what());
                throw;
            } catch (...) {
                remove();
                throw;
            }
            remove();
        };
    });
}
