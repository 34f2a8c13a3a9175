// SPDX-License-Identifier: Apache-2.0
// Checkpoints on several ranks: the file depends on neither their number nor that of the writers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/file_writer.h"
#include "samples.h"
#include "support/test_main.h"

namespace selvage::io::test {
namespace {

using ::testing::HasSubstr;

struct Checkpoint : ::testing::Test {
    selvage::test::TemporaryFolder folder;
    std::unique_ptr<Communicator> world = selvage::test::world();

    // Runs `action(ranks, io)` on the first `ranks` ranks.
    template <class Action>
    void on(int ranks, Action&& action) {
        auto const group = world->split(world->rank() < ranks ? 0 : -1, world->rank());
        if (group) {
            auto const io = io_thread(*group);
            action(*group, *io);
        }
        world->barrier();
    }
    std::vector<int> sizes() const {
        std::vector<int> out;
        for (int const size : {1, 2, 3, 4})
            if (size <= world->size()) out.push_back(size);
        return out;
    }
};

TEST_F(Checkpoint, SavedOnAnyRanksByAnyWritersLoadsOnAny) {
    std::string expected;
    std::uintmax_t bytes = 0;
    for (int const saving : sizes())
        for (std::int64_t const writers : {0, 2, 9}) {
            Path const path = folder / fmt::format("save{}x{}.h5", saving, writers);
            on(saving, [&](Communicator& group, IoThread& io) {
                Model model(&group);
                std::int64_t const written = model.write(io, path, writers);
                EXPECT_EQ(written, static_cast<std::int64_t>(std::filesystem::file_size(path)));
                if (group.rank() != 0) return;
                std::string const content = content_of(io, path);
                if (expected.empty()) {
                    check_file(io, path);
                    EXPECT_THAT(describe_file(io, path), HasSubstr("400 steps done, round 3, next: training"));
                    expected = content;
                    bytes = std::filesystem::file_size(path);
                }
                EXPECT_TRUE(content == expected) << path;
                EXPECT_EQ(std::filesystem::file_size(path), bytes) << path;
            });
            for (int const loading : sizes()) {
                if (writers != 0) continue;
                on(loading, [&](Communicator& group, IoThread& io) {
                    Model model(&group);
                    model.clear();
                    EXPECT_FALSE(model.is_whole());
                    OptimizerShard const shard = model.shard();
                    read_checkpoint(io, path, model.parameters(), &shard);
                    EXPECT_TRUE(model.is_whole()) << path << " on " << loading;
                });
            }
        }
}

TEST_F(Checkpoint, TheTensorAxisDoesNotShow) {
    std::string expected;
    struct Grid {
        int ranks, tensor;
    };
    std::vector<Grid> grids;
    for (Grid const grid : {Grid{1, 1}, Grid{2, 2}, Grid{4, 2}, Grid{4, 4}, Grid{2, 1}})
        if (grid.ranks <= world->size()) grids.push_back(grid);
    for (Grid const saving : grids)
        for (std::int64_t const writers : {0, 2}) {
            Path const path = folder / fmt::format("save{}x{}x{}.h5", saving.ranks, saving.tensor, writers);
            on(saving.ranks, [&](Communicator& group, IoThread& io) {
                Model model(&group, saving.tensor);
                model.write(io, path, writers);
                write_model(io, folder / "model.h5", checkpoint_info(), model.parameters());
                if (group.rank() != 0) return;
                std::string const content = content_of(io, path);
                if (expected.empty()) expected = content;
                EXPECT_TRUE(content == expected) << path;
            });
            for (Grid const loading : grids)
                on(loading.ranks, [&](Communicator& group, IoThread& io) {
                    Model model(&group, loading.tensor);
                    model.clear();
                    EXPECT_FALSE(model.is_whole());
                    OptimizerShard const shard = model.shard();
                    read_checkpoint(io, path, model.parameters(), &shard);
                    EXPECT_TRUE(model.is_whole()) << path << " on " << loading.ranks << ", tensor " << loading.tensor;
                    model.parameters().initialise(6);
                    read_checkpoint(io, folder / "model.h5", model.parameters(), nullptr);
                    EXPECT_TRUE(model.is_whole()) << path << " on " << loading.ranks << ", tensor " << loading.tensor;
                });
        }
}

TEST_F(Checkpoint, ShardsOfParametersDoNotShow) {
    for (int const tensor : {1, 2}) {
        if (world->size() % tensor != 0) continue;
        on(world->size(), [&](Communicator& group, IoThread& io) {
            Path const path = folder / fmt::format("shards{}.h5", tensor), plain = folder / "whole.h5";
            Model whole(&group, tensor), shards(&group, tensor, "cpu", Model::Values::shard);
            whole.write(io, plain, 2);
            shards.write(io, path, 2);
            EXPECT_TRUE(group.rank() != 0 || content_of(io, path) == content_of(io, plain));
            EXPECT_EQ(std::filesystem::file_size(path), std::filesystem::file_size(plain));
            write_model(io, folder / "model.h5", checkpoint_info(), shards.parameters());
            OptimizerShard const shard = shards.shard();
            shards.clear();
            EXPECT_FALSE(shards.is_whole());
            read_checkpoint(io, path, shards.parameters(), &shard);
            EXPECT_TRUE(shards.is_whole()) << tensor;
            shards.parameters().initialise(6);
            read_checkpoint(io, folder / "model.h5", shards.parameters(), nullptr);
            EXPECT_TRUE(shards.is_whole()) << tensor;
        });
    }
}

TEST_F(Checkpoint, DeviceMemoryDoesNotShow) {
    try {
        make_device("emulated");
    } catch (Error const& error) {
        GTEST_SKIP() << error.what();
    }
    for (int const tensor : {1, 2}) {
        if (world->size() % tensor != 0) continue;
        on(world->size(), [&](Communicator& group, IoThread& io) {
            Path const path = folder / fmt::format("device{}.h5", tensor), plain = folder / "plain.h5";
            Model on_cpu(&group, tensor), on_device(&group, tensor, "emulated");
            on_cpu.write(io, plain);
            on_device.write(io, path);
            EXPECT_TRUE(group.rank() != 0 || content_of(io, path) == content_of(io, plain));
            EXPECT_EQ(std::filesystem::file_size(path), std::filesystem::file_size(plain));
            on_device.clear();
            EXPECT_FALSE(on_device.is_whole());
            OptimizerShard const shard = on_device.shard();
            read_checkpoint(io, path, on_device.parameters(), &shard);
            EXPECT_TRUE(on_device.is_whole()) << tensor;
        });
    }
}

TEST_F(Checkpoint, InfoComesBack) {
    on(world->size(), [&](Communicator& group, IoThread& io) {
        Model model(&group);
        Path const path = checkpoint_path(folder.path(), 400);
        EXPECT_EQ(path.filename(), "step-00000400.h5");
        model.write(io, path);
        CheckpointInfo const read = read_checkpoint_info(io, path), expected = checkpoint_info();
        EXPECT_EQ(read.deck, expected.deck);
        EXPECT_EQ(read.model, expected.model);
        EXPECT_EQ(read.tokenizer, expected.tokenizer);
        EXPECT_EQ(read.tokenizer.phrases, expected.tokenizer.phrases);
        EXPECT_EQ(read.folder, expected.folder);
        EXPECT_EQ(read.state.step, expected.state.step);
        EXPECT_EQ(read.state.round, expected.state.round);
        EXPECT_EQ(read.state.phase, expected.state.phase);
        EXPECT_EQ(read.state.cursor, expected.state.cursor);
        EXPECT_EQ(read.state.step_in_round, expected.state.step_in_round);
        EXPECT_EQ(read.state.table_rows, expected.state.table_rows);
    });
}

TEST_F(Checkpoint, RankZeroKnowsTheState) {
    on(world->size(), [&](Communicator& group, IoThread& io) {
        Model model(&group);
        CheckpointInfo info = checkpoint_info();
        if (group.rank() != 0) info.state = {}, info.folder = {};
        model.write(io, folder / "a.h5", info, model.shard(), group.size());
        EXPECT_EQ(read_checkpoint_info(io, folder / "a.h5").state.table_rows, checkpoint_info().state.table_rows);
        EXPECT_EQ(read_checkpoint_info(io, folder / "a.h5").state.step, 400);
    });
}

TEST_F(Checkpoint, AModelHasNoMoments) {
    on(world->size(), [&](Communicator& group, IoThread& io) {
        Model model(&group);
        Path const path = folder / "model.h5";
        write_model(io, path, checkpoint_info(), model.parameters());
        if (group.rank() == 0) check_file(io, path);
        model.parameters().initialise(6);
        read_checkpoint(io, path, model.parameters(), nullptr);
        EXPECT_TRUE(model.is_whole());
        OptimizerShard const shard = model.shard();
        Outcome const outcome = outcome_of([&] { read_checkpoint(io, path, model.parameters(), &shard); });
        EXPECT_EQ(outcome.code, ExitCode::bad_data);
        EXPECT_THAT(outcome.message, HasSubstr("selvage-checkpoint"));
        EXPECT_EQ(read_checkpoint_info(io, path).model, checkpoint_info().model);
    });
}

// Rows from anywhere, which no rank has all of, make the same file; and come out of it again.
TEST_F(Checkpoint, AModelFromRows) {
    on(world->size(), [&](Communicator& group, IoThread& io) {
        Model model(&group);
        Path const path = folder / "rows.h5", plain = folder / "plain.h5";
        write_model(io, plain, checkpoint_info(), model.parameters());
        std::vector<ParameterSpec> specs;
        for (Parameter const& parameter : model.parameters().parameters()) specs.push_back(parameter.spec);
        auto const place = [](ParameterSpec const& spec, Range rows) {
            std::int64_t const width = spec.shape.elements() / spec.shape[0];
            return Range{rows.begin * width, rows.end * width};
        };
        write_model(io, path, checkpoint_info(), specs, [&](ParameterSpec const& spec, Range rows, float* into) {
            Range const here = place(spec, rows);
            std::copy_n(model.parameters().value(spec.name).as<float>() + here.begin, here.size(), into);
        });
        if (group.rank() == 0) {
            check_file(io, path);
            EXPECT_TRUE(content_of(io, path) == content_of(io, plain));
        }
        world->barrier();
        ParameterFile const file(io, path, specs);
        model.parameters().initialise(6);
        fill_parameters(model.parameters(),
                        [&](ParameterSpec const& spec, Range rows, float* into) { file.read(spec, rows, into); });
        EXPECT_TRUE(model.is_whole());
        specs.pop_back();
        EXPECT_EQ(outcome_of([&] { ParameterFile(io, path, specs); }).code, ExitCode::bad_data);
    });
}

TEST_F(Checkpoint, OfAnotherModelIsNamedOnEveryRank) {
    on(world->size(), [&](Communicator& group, IoThread& io) {
        Model model(&group);
        Path const path = folder / "a.h5";
        model.write(io, path);
        auto const device = make_device("cpu");
        Arena arena(*device);
        auto const message = [&](std::vector<ParameterSpec> specs) {
            ParameterSet other(arena, std::move(specs));
            Outcome const outcome = outcome_of([&] { read_checkpoint(io, path, other, nullptr); });
            EXPECT_EQ(outcome.code, ExitCode::bad_data);
            return outcome.message;
        };
        EXPECT_THAT(message({{"unknown", {1}}}), HasSubstr("no /parameters/unknown"));
        EXPECT_THAT(message({{"one", {2}}}), HasSubstr("/parameters/one has dim 0 of 1"));
        EXPECT_THAT(message({{"one", {1}}}), HasSubstr("/parameters/embedding.weight, which the model has not"));
        EXPECT_EQ(outcome_of([&] { read_checkpoint(io, folder / "none.h5", model.parameters(), nullptr); }).code,
                  ExitCode::missing_input);
    });
}

TEST_F(Checkpoint, ShardsThatDoNotMakeUpTheWholeAreRefused) {
    on(world->size(), [&](Communicator& group, IoThread& io) {
        Model model(&group);
        OptimizerShard shard = model.shard();
        if (group.rank() == 0) shard.shard.end -= 4096;
        Outcome const outcome = outcome_of([&] { model.write(io, folder / "a.h5", checkpoint_info(), shard, 0); });
        EXPECT_EQ(outcome.code, ExitCode::internal);
        world->barrier();
        EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
    });
}

TEST_F(Checkpoint, DamagedOnesAreSkippedAndOldOnesRemoved) {
    on(world->size(), [&](Communicator& group, IoThread& io) {
        Model model(&group);
        for (std::int64_t const step : {100, 200, 300, 400}) model.write(io, checkpoint_path(folder.path(), step));
        if (group.rank() != 0) return;
        std::string bytes = read_bytes(checkpoint_path(folder.path(), 400));
        bytes[bytes.size() / 3] ^= 1;
        write_bytes(checkpoint_path(folder.path(), 400), bytes);
        bytes = read_bytes(checkpoint_path(folder.path(), 300));
        write_bytes(checkpoint_path(folder.path(), 300), bytes.substr(0, 100000));
        write_bytes(folder / "step-00000500.h5.partial", "x");
        write_bytes(folder / "notes.h5", "x");
        std::vector<std::string> problems;
        EXPECT_EQ(newest_valid_checkpoint(io, folder.path(), &problems), checkpoint_path(folder.path(), 200));
        EXPECT_THAT(problems, ::testing::ElementsAre(HasSubstr("step-00000400.h5 is damaged"),
                                                     HasSubstr("step-00000300.h5 is damaged")));
        remove_old_checkpoints(folder.path(), 3);
        EXPECT_EQ(list_checkpoints(folder.path()).size(), 3U);
        EXPECT_TRUE(std::filesystem::exists(folder / "notes.h5"));
        remove_old_checkpoints(folder.path(), 0);
        EXPECT_EQ(list_checkpoints(folder.path()), std::vector<Path>{checkpoint_path(folder.path(), 400)});
        EXPECT_EQ(newest_valid_checkpoint(io, folder.path(), nullptr), std::nullopt);
        EXPECT_EQ(newest_valid_checkpoint(io, folder / "none", nullptr), std::nullopt);
    });
}

// The disk is full: every rank gets the reason, nothing is left, and the next save works.
TEST_F(Checkpoint, AFullDiskIsAnErrorOnEveryRank) {
    std::unique_ptr<SmallDisk> disk;
    if (world->rank() == 0) disk = std::make_unique<SmallDisk>(folder / "disk", 6 << 20);
    if (sum_over(*world, disk && disk->is_mounted()) == 0) GTEST_SKIP() << "mounting needs root";
    on(world->size(), [&](Communicator& group, IoThread& io) {
        Model model(&group);
        Outcome const outcome = outcome_of([&] { model.write(io, folder / "disk/a.h5", group.size()); });
        EXPECT_EQ(outcome.code, ExitCode::io);
        EXPECT_THAT(outcome.message, HasSubstr("No space left on device"));
        EXPECT_TRUE(std::filesystem::is_empty(folder / "disk"));
        group.barrier();
        write_model(io, folder / "disk/b.h5", checkpoint_info(), model.parameters());
        if (group.rank() == 0) check_file(io, folder / "disk/b.h5");
    });
}

// The same where the file system does not take reservations, so that HDF5 itself runs into the full disk. One writer:
// Open MPI's collective writes can hang where one of several aggregators fails.
TEST_F(Checkpoint, ADiskThatFillsUpInTheMiddleIsAnError) {
    std::unique_ptr<SmallDisk> disk;
    if (world->rank() == 0) disk = std::make_unique<SmallDisk>(folder / "disk", 3 << 20);
    if (sum_over(*world, disk && disk->is_mounted()) == 0) GTEST_SKIP() << "mounting needs root";
    on(1, [&](Communicator& group, IoThread& io) {
        for (int repeat = 0; repeat < 3; ++repeat) {
            Outcome const outcome = outcome_of([&] {
                io.call([&] {
                    Communicator& ranks = io.communicator();
                    FileWriter file(folder / "disk/a.h5", "selvage-model", {&ranks, 0});
                    Dims const dims = {4096, 1024};
                    Range const rows = BlockSplit(4096, 256, ranks.size()).part(ranks.rank());
                    std::vector<float> const values(static_cast<std::size_t>(rows.size() * 1024), 1.5F);
                    Handle dataset;
                    agree(ranks, [&] { dataset = file.create_floats("/x", {"x", "1"}, dims); });
                    agree(ranks, [&] { file.write_rows(dataset, "/x", dims, rows, values.data()); });
                    dataset.reset();
                    file.commit();
                });
            });
            EXPECT_EQ(outcome.code, ExitCode::io);
            group.barrier();
            EXPECT_TRUE(std::filesystem::is_empty(folder / "disk")) << outcome.message;
            group.barrier();
        }
        Model model(&group);
        model.write(io, folder / "b.h5", group.size());
        if (group.rank() == 0) check_file(io, folder / "b.h5");
    });
}

}  // namespace
}  // namespace selvage::io::test
