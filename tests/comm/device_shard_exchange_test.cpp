// SPDX-License-Identifier: Apache-2.0
#include "comm/device_shard_exchange.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "comm/host_shard_exchange.h"
#include "comm/lanes.h"
#include "kernels/activation.h"
#include "support/devices.h"
#include "support/test_main.h"
#include "tensor/host_copy.h"

namespace selvage {
namespace {

using test::even_shards;
using test::Lanes;

constexpr std::int64_t piece = 1000;

// The rows of `lanes` in memory of the device.
class DeviceRows {
  public:
    DeviceRows(Arena& arena, Lanes& lanes, std::int64_t elements)
        : lanes_(lanes), host_(lanes.rows()), stream_(arena.stream()) {
        for (ShardExchange::Row const& row : host_) {
            rows_.emplace_back(arena, "row", DType::f32, Shape{elements});
            copy_to_device(rows_.back(), row.values, stream_);
        }
    }
    std::vector<ShardExchange::Row> rows() const {
        std::vector<ShardExchange::Row> rows = host_;
        for (std::size_t i = 0; i < rows.size(); ++i) rows[i].values = rows_[i].view().as<float>();
        return rows;
    }
    void finish(Range elements) {
        lanes_.finish(elements);
        copy_to_device(rows_.back().view().rows(elements.begin, elements.end), host_.back().values + elements.begin,
                       stream_);
    }
    std::vector<float> last(Range elements) {
        std::vector<float> values(static_cast<std::size_t>(elements.size()));
        copy_to_host(values.data(), rows_.back().view().rows(elements.begin, elements.end), stream_);
        return values;
    }

  private:
    Lanes& lanes_;
    std::vector<ShardExchange::Row> host_;
    Stream stream_;
    std::vector<Tensor> rows_;
};

class OnDevice : public testing::TestWithParam<char const*> {
  protected:
    void SetUp() override {
        std::string reason;
        device_ = test::find_device(GetParam(), reason, world_->rank());
        if (!device_) GTEST_SKIP() << reason;
        arena_.emplace(*device_);
        Transport const transport = choose_transport(*world_, *device_, Transport::automatic).transport;
        collectives_ = make_device_collectives(*world_, *device_, transport);
    }
    Range lanes_of_rank(std::int64_t lanes) const { return EvenSplit(lanes, world_->size()).part(world_->rank()); }
    DeviceShardExchange exchange(std::int64_t lanes, std::vector<Range> const& shards) {
        return {*arena_, collectives_, lanes, shards, kernels::add_in_place, piece};
    }

    // By both exchanges: the sums, and that they are the tree's.
    void expect_sums(std::int64_t lanes, std::vector<Range> const& shards) {
        std::int64_t const elements = shards.back().end;
        Range const shard = shards[static_cast<std::size_t>(world_->rank())];
        DeviceShardExchange exchange = this->exchange(lanes, shards);
        HostShardExchange host(*world_, lanes, shards, Overlap::no);
        std::mt19937 random(static_cast<unsigned>(lanes + world_->rank()));
        for (int step = 0; step < 2; ++step) {
            SCOPED_TRACE(fmt::format("{} lanes, {} elements, step {}", lanes, elements, step));
            Lanes here(lanes_of_rank(lanes), lanes, elements, Lanes::Merged::no);
            Lanes there(lanes_of_rank(lanes), lanes, elements, step == 0 ? Lanes::Merged::yes : Lanes::Merged::no);
            host.begin(here.rows());
            here.finish({0, elements});
            host.finish();
            DeviceRows rows(*arena_, there, elements);
            std::vector<int> summed(static_cast<std::size_t>(shard.size()));
            exchange.begin(rows.rows(), [&](Range part) {
                for (std::int64_t i = part.begin; i < part.end; ++i) ++summed[static_cast<std::size_t>(i)];
            });
            for (std::int64_t end = elements; end > 0;) {
                std::int64_t const begin =
                    std::max<std::int64_t>(0, end - 1 - static_cast<std::int64_t>(random() % 1500));
                rows.finish({begin, end});
                if (random() % 4 != 0) exchange.final_from(begin);
                end = begin;
            }
            exchange.finish();
            EXPECT_THAT(summed, ::testing::Each(1));
            std::vector<float> const sums = rows.last(shard);
            std::int64_t wrong = 0, other = 0;
            for (std::int64_t e = shard.begin; e < shard.end; ++e) {
                float const sum = sums[static_cast<std::size_t>(e - shard.begin)];
                wrong += sum != test::tree_of_lanes(1, lanes, e);
                other += std::memcmp(&sum, here.rows().back().values + e, sizeof sum) != 0;
            }
            EXPECT_EQ(wrong, 0);
            EXPECT_EQ(other, 0);
        }
    }

    std::unique_ptr<Communicator> world_ = test::world();
    std::unique_ptr<Device> device_;
    std::optional<Arena> arena_;
    std::shared_ptr<DeviceCollectives> collectives_;
};

TEST_P(OnDevice, SumsAreThoseOfTheOtherExchange) {
    for (std::int64_t const lanes : {1, 4, 8, 16}) {
        if (world_->size() > lanes) continue;
        for (std::int64_t const elements : {1, 130, 5000, 20'000})
            expect_sums(lanes, even_shards(elements, world_->size()));
    }
}

TEST_P(OnDevice, ARankWithoutAShard) {
    std::vector<Range> shards = even_shards(3000, world_->size());
    for (Range& shard : shards) shard = {0, shard.end == 3000 ? 3000 : 0};
    expect_sums(8, shards);
}

// What is not final yet is not read: it is NaN, and comes later.
TEST_P(OnDevice, PiecesStartWhenTheyAreFinal) {
    std::int64_t const lanes = 4, elements = 8 * piece;
    std::vector<Range> const shards = even_shards(elements, world_->size());
    Lanes lanes_here(lanes_of_rank(lanes), lanes, elements, Lanes::Merged::yes);
    DeviceRows rows(*arena_, lanes_here, elements);
    DeviceShardExchange exchange = this->exchange(lanes, shards);
    exchange.begin(rows.rows());
    EXPECT_EQ(exchange.started_pieces(), 0);
    std::int64_t all = 0, ready = 0;
    for (Range const shard : shards)
        for (std::int64_t at = shard.begin; at < shard.end; at += piece) {
            ++all;
            ready += at >= elements / 2 - 1;
        }
    rows.finish({elements / 2 - 1, elements});
    exchange.final_from(elements / 2 - 1);
    EXPECT_EQ(exchange.started_pieces(), ready);
    exchange.final_from(elements / 2);  // known
    EXPECT_EQ(exchange.started_pieces(), ready);
    rows.finish({0, elements / 2 - 1});
    exchange.finish();
    EXPECT_EQ(exchange.started_pieces(), all);
    EXPECT_GE(exchange.seconds(), 0);
}

// A stand-in for a transport whose calls do not wait for others.
class NothingArrives final : public DeviceCollectives {
  public:
    explicit NothingArrives(Communicator& ranks) : ranks_(ranks) {}
    Communicator& ranks() const override { return ranks_; }
    void all_gather(std::span<std::byte>, std::span<std::size_t const>, Stream&) override {}
    void all_gather(std::span<std::byte>, std::span<std::byte const>, Stream&) override {}
    void all_to_all_v(std::span<std::byte>, std::span<std::size_t const>, std::span<std::byte const>,
                      std::span<std::size_t const>, Stream&) override {}
    bool only_streams() const override { return true; }
    void abort() noexcept override { ++aborted; }
    std::string_view transport() const override { return "none"; }
    int aborted = 0;

  private:
    Communicator& ranks_;
};

TEST_P(OnDevice, AFailureIsHeardByAll) {
    if (world_->size() == 1) GTEST_SKIP() << "needs two ranks";
    std::int64_t const lanes = 4, elements = 5 * piece;
    int const failing = world_->size() - 1;
    bool const fails = world_->rank() == failing;
    auto const nothing = std::make_shared<NothingArrives>(*world_);
    Lanes lanes_here(lanes_of_rank(lanes), lanes, elements, Lanes::Merged::yes);
    DeviceRows rows(*arena_, lanes_here, elements);
    DeviceShardExchange exchange(*arena_, nothing, lanes, even_shards(elements, world_->size()), kernels::add_in_place,
                                 piece);
    exchange.begin(rows.rows());
    exchange.final_from(elements / 2);
    if (fails) exchange.abandon(ExitCode::io, "lost the corpus");
    std::string told;
    while (told.empty()) try {
            exchange.final_from(elements / 2);
        } catch (Error const& error) {
            EXPECT_EQ(error.code(), ExitCode::io);
            told = error.what();
        }
    EXPECT_EQ(told, "lost the corpus" + (fails ? "" : fmt::format(" (on rank {})", failing)));
    EXPECT_THROW(exchange.finish(), Error);
    EXPECT_THROW(exchange.begin(rows.rows()), Error);
    EXPECT_EQ(nothing->aborted, 1);
    world_->barrier();
}

INSTANTIATE_TEST_SUITE_P(Devices, OnDevice, testing::Values("cpu", "emulated", "cuda"),
                         [](auto const& info) { return std::string(info.param); });

}  // namespace
}  // namespace selvage
