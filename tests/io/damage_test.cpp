// SPDX-License-Identifier: Apache-2.0
// Files that are damaged, truncated, foreign or wrong in content: always an Error that names the file, never a crash.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "io/file_writer.h"
#include "samples.h"
#include "support/test_main.h"

namespace selvage::io::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// The attributes that a data file of another program must have.
void mark_as_data(hid_t file) {
    Handle const one(H5Screate(H5S_SCALAR), H5Sclose);
    Handle const text(H5Tcopy(H5T_C_S1), H5Tclose);
    H5Tset_size(text, 12);
    Handle const format(H5Acreate2(file, "format", text, one, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    H5Awrite(format, text, "selvage-data");
    Handle const version(H5Acreate2(file, "format_version", H5T_STD_I32LE, one, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    int const number = 1;
    H5Awrite(version, H5T_NATIVE_INT, &number);
}

struct Damage : ::testing::Test {
    selvage::test::TemporaryFolder folder;
    std::unique_ptr<Communicator> world = selvage::test::world();
    std::unique_ptr<IoThread> io = io_thread(*world);

    std::vector<Path> every_kind() {
        std::vector<Path> paths = write_all_kinds(*io, folder.path(), 20);
        Model model;
        paths.push_back(folder / "step-00000400.h5");
        model.write(*io, paths.back());
        paths.push_back(folder / "model.h5");
        write_model(*io, paths.back(), checkpoint_info(), model.parameters());
        return paths;
    }
    Outcome check(Path const& path) {
        return outcome_of([&] { check_file(*io, path); });
    }
    // The check of a file that was written with something wrong in it.
    std::string complaint(Path const& path) {
        Outcome const outcome = check(path);
        EXPECT_EQ(outcome.code, ExitCode::bad_data) << path;
        EXPECT_THAT(outcome.message, HasSubstr(path.string()));
        return outcome.message;
    }
};

TEST_F(Damage, EveryFlippedBitIsFound) {
    std::mt19937_64 random(17);
    for (Path const& path : every_kind()) {
        ASSERT_EQ(check(path).message, "");
        std::string const whole = read_bytes(path);
        for (int i = 0; i < 100; ++i) {
            std::string bytes = whole;
            // A quarter of them in the user block, half near the beginning, where the metadata lies.
            std::size_t const limit = i % 4 == 0   ? 4096
                                      : i % 4 == 1 ? bytes.size()
                                                   : std::min<std::size_t>(bytes.size(), 20000);
            std::size_t const at = random() % limit;
            bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
            write_bytes(path, bytes);
            EXPECT_EQ(check(path).code, ExitCode::bad_data) << path << " byte " << at;
        }
        write_bytes(path, whole);
    }
}

// Without checksums of ours (data files of other programs) HDF5's own must do: found, or without effect on any dataset.
// (Text attributes of variable length lie where HDF5 has no checksums.)
TEST_F(Damage, FlippedBitsWithoutDigestAreFoundOrHarmless) {
    std::mt19937_64 random(18);
    Path const path = folder / "a.h5";
    write_data(*io, path, data(50));
    std::string whole = read_bytes(path);
    std::fill_n(whole.begin(), 4096, '\0');
    write_bytes(path, whole);
    ASSERT_EQ(check(path).message, "");
    DataFile const expected = read_data(*io, path);
    int found = 0;
    for (int i = 0; i < 400; ++i) {
        std::string bytes = whole;
        std::size_t const at = 4096 + random() % (bytes.size() - 4096);
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
        write_bytes(path, bytes);
        Outcome const outcome = outcome_of([&] {
            check_file(*io, path);
            DataFile const read = read_data(*io, path);
            EXPECT_EQ(read.tokens, expected.tokens) << at;
            EXPECT_EQ(read.offsets, expected.offsets) << at;
            EXPECT_EQ(read.prompt_length, expected.prompt_length) << at;
            EXPECT_EQ(read.tokenizer.pieces, expected.tokenizer.pieces) << at;
            EXPECT_EQ(read.tokenizer.special, expected.tokenizer.special) << at;
        });
        found += outcome.code == ExitCode::bad_data;
    }
    EXPECT_GT(found, 50);
}

TEST_F(Damage, EveryTruncationIsFound) {
    for (Path const& path : every_kind()) {
        std::string const whole = read_bytes(path);
        for (std::size_t const size : {std::size_t{0}, std::size_t{1}, std::size_t{8}, std::size_t{4095},
                                       std::size_t{4096}, std::size_t{5000}, whole.size() / 2, whole.size() - 1}) {
            write_bytes(path, whole.substr(0, size));
            EXPECT_EQ(check(path).code, ExitCode::bad_data) << path << " cut to " << size;
        }
        write_bytes(path, whole + "x");
        EXPECT_EQ(check(path).code, ExitCode::bad_data) << path << " with a byte too many";
    }
}

// A bit flipped or the end cut off, anywhere: the run goes on from the one before.
TEST_F(Damage, ADamagedNewestCheckpointIsNotTaken) {
    std::mt19937_64 random(19);
    Path const older = checkpoint_path(folder.path(), 300), newest = checkpoint_path(folder.path(), 400);
    Model model;
    model.write(*io, older);
    model.write(*io, newest);
    ASSERT_EQ(newest_valid_checkpoint(*io, folder.path(), nullptr), newest);
    std::string const whole = read_bytes(newest);
    for (int i = 0; i < 200; ++i) {
        std::string bytes = whole;
        std::size_t const at = random() % bytes.size();
        if (i % 2 == 0)
            bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
        else
            bytes.resize(at);
        write_bytes(newest, bytes);
        std::vector<std::string> problems;
        EXPECT_EQ(newest_valid_checkpoint(*io, folder.path(), &problems), older)
            << (i % 2 == 0 ? "flipped at " : "cut at ") << at;
        EXPECT_EQ(problems.size(), 1U);
    }
}

TEST_F(Damage, ForeignAndMissingFiles) {
    EXPECT_EQ(check(folder / "none.h5").code, ExitCode::missing_input);
    EXPECT_EQ(check(folder.path()).code, ExitCode::bad_data);
    write_bytes(folder / "text.h5", std::string(10000, 'a'));
    EXPECT_THAT(complaint(folder / "text.h5"), HasSubstr("not a file of Selvage"));
    write_bytes(folder / "empty.h5", "");
    EXPECT_THAT(complaint(folder / "empty.h5"), HasSubstr("empty"));
    write_bytes(folder / "signature.h5", "\x89HDF\r\n\x1a\n" + std::string(10000, '\0'));
    EXPECT_THAT(complaint(folder / "signature.h5"), HasSubstr("H5Fopen"));
    write_drafts(*io, folder / "drafts.h5", drafts(3));
    Outcome const outcome = outcome_of([&] { read_data(*io, folder / "drafts.h5"); });
    EXPECT_EQ(outcome.code, ExitCode::bad_data);
    EXPECT_THAT(outcome.message, HasSubstr("selvage-drafts file where a selvage-data file is needed"));
}

TEST_F(Damage, OnlyDataFilesMayLackChecksums) {
    Path const path = folder / "a.h5";
    write_drafts(*io, path, drafts(3));
    std::string bytes = read_bytes(path);
    std::fill_n(bytes.begin(), 4096, '\0');
    write_bytes(path, bytes);
    EXPECT_THAT(complaint(path), HasSubstr("without checksums"));
}

TEST_F(Damage, WrongContentIsNamedWithDatasetAndIndex) {
    Path const path = folder / "a.h5";
    DataFile pairs = data(20);
    pairs.offsets[5] = pairs.offsets[4] - 1;
    write_data(*io, path, pairs);
    EXPECT_THAT(complaint(path), AllOf(HasSubstr("/offsets"), HasSubstr("at 5")));
    pairs = data(20);
    pairs.prompt_length[7] = 100;
    write_data(*io, path, pairs);
    EXPECT_THAT(complaint(path), AllOf(HasSubstr("/prompt_length"), HasSubstr("100 at 7")));
    pairs = data(20);
    pairs.prompt_length[7] = 0;
    write_data(*io, path, pairs);
    EXPECT_THAT(complaint(path), AllOf(HasSubstr("/prompt_length"), HasSubstr("0 at 7"), HasSubstr("need one each")));
    pairs = data(20);
    pairs.prompt_length[0] = 3;
    write_data(*io, path, pairs);
    EXPECT_THAT(complaint(path), AllOf(HasSubstr("/prompt_length"), HasSubstr("3 at 0"), HasSubstr("need one each")));
    pairs = data(20);
    pairs.tokens[2] = 65;
    write_data(*io, path, pairs);
    EXPECT_THAT(complaint(path), AllOf(HasSubstr("/tokens"), HasSubstr("65 at 2"), HasSubstr("end-of-answer (256)")));
    pairs = data(20);
    pairs.offsets.insert(pairs.offsets.begin() + 5, pairs.offsets[5]);
    pairs.prompt_length.insert(pairs.prompt_length.begin() + 5, 0);
    write_data(*io, path, pairs);
    EXPECT_THAT(outcome_of([&] { read_data(*io, path); }).message,
                AllOf(HasSubstr("/offsets"), HasSubstr("at 5 and 6"), HasSubstr("no token")));
    pairs = data(20);
    pairs.tokens[11] = -3;
    write_data(*io, path, pairs);
    EXPECT_THAT(complaint(path), AllOf(HasSubstr("/tokens"), HasSubstr("-3 at 11")));

    DraftsFile answers = drafts(20);
    answers.drafts[4].logprob[1] = std::numeric_limits<float>::quiet_NaN();
    write_drafts(*io, path, answers);
    EXPECT_THAT(complaint(path), AllOf(HasSubstr("/logprob"), HasSubstr("nan at 7")));

    WovenFile rows = woven(5);
    rows.rows[3].target_origin[2] = Origin::generated;
    write_woven(*io, path, rows);
    EXPECT_THAT(complaint(path), AllOf(HasSubstr("/loss_weight"), HasSubstr("row 3"), HasSubstr("generated")));
    rows = woven(5);
    rows.uses[2].index = 5;
    write_woven(*io, path, rows);
    EXPECT_THAT(complaint(path), AllOf(HasSubstr("/uses/index"), HasSubstr("5 at 2")));

    Model model;
    model.parameters().value("layers.1.odd").as<float>()[4] = std::numeric_limits<float>::infinity();
    model.write(*io, path);
    EXPECT_THAT(complaint(path), AllOf(HasSubstr("/parameters/layers.1.odd"), HasSubstr("inf at 4")));
}

// Data files by other programs: whatever the datasets claim, nothing is allocated before it is checked.
TEST_F(Damage, WrongSchemaOfAForeignDataFile) {
    Path const path = folder / "a.h5";
    auto const write = [&](Element element, Dims const& dims, std::vector<std::int64_t> const& values) {
        io->call([&] {
            FileWriter file(path, "selvage-data", {});
            file.root_attributes("", {});
            file.array("/tokens", element, {"x", "1"}, dims, values.data());
            file.commit();
        });
    };
    write(Element::i64, {2}, {1, 2});
    EXPECT_THAT(complaint(path), AllOf(HasSubstr("/tokens"), HasSubstr("int64, not int32")));
    write(Element::i32, {2, 1}, {1, 2});
    EXPECT_THAT(complaint(path), HasSubstr("rank 2"));
    write(Element::i32, {2}, {1, 2});
    EXPECT_THAT(complaint(path), AllOf(HasSubstr("/offsets"), HasSubstr("not there")));

    io->call([&] {
        FileWriter file(path, "selvage-data", {});
        file.root_attributes("", {});
        // Never written, so the file is small.
        Handle const dataset = file.create_floats("/tokens", {"x", "1"}, {std::int64_t{1} << 26});
        return 0;
    });
    EXPECT_EQ(check(path).code, ExitCode::bad_data);
}

TEST_F(Damage, AHugeDatasetIsRefusedBeforeAnythingIsAllocated) {
    Path const path = folder / "a.h5";
    io->call([&] {
        quiet_hdf5();
        hsize_t const size = hsize_t{1} << 44, chunk = 1024;
        Handle const file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose);
        Handle const space(H5Screate_simple(1, &size, nullptr), H5Sclose);
        Handle const layout(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
        H5Pset_chunk(layout, 1, &chunk);
        Handle const tokens(H5Dcreate2(file, "/tokens", H5T_STD_I32LE, space, H5P_DEFAULT, layout, H5P_DEFAULT),
                            H5Dclose);
        mark_as_data(file);
    });
    EXPECT_THAT(complaint(path), AllOf(HasSubstr("/tokens"), HasSubstr("more than the file can hold")));
}

// A damaged link, or one that somebody made, may lead back to where it came from.
TEST_F(Damage, EndlessGroups) {
    Path const path = folder / "endless.h5";
    io->call([&] {
        quiet_hdf5();
        Handle const file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose);
        mark_as_data(file);
        for (char const* name : {"/a", "/b"}) H5Lcreate_hard(file, "/", file, name, H5P_DEFAULT, H5P_DEFAULT);
    });
    Outcome const outcome = outcome_of([&] { describe_file(*io, path); });
    EXPECT_EQ(outcome.code, ExitCode::bad_data);
    EXPECT_THAT(outcome.message, AllOf(HasSubstr(path.string()), HasSubstr("too deep")));
}

}  // namespace
}  // namespace selvage::io::test
