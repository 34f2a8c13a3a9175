// SPDX-License-Identifier: Apache-2.0
#pragma once
// The named axes of the job, tensor fastest. Built once in app and handed down.
#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "comm/communicator.h"
#include "comm/device_collectives.h"

namespace selvage {

enum class Axis : std::uint8_t { tensor, context, expert, pipeline, data };
constexpr int axis_count = 5;
char const* name_of(Axis axis);

struct GridOptions {
    std::int64_t tensor = 1;
    std::int64_t context = 1;
    std::int64_t expert = 1;
    std::int64_t pipeline = 1;
    std::int64_t data = 0;  // 0: all remaining ranks
    Transport transport = Transport::automatic;
};

class ProcessGrid {
  public:
    // Collective over `world`, which it keeps. Errors (bad_data): an axis below 1, axes that do not multiply to the
    // number of ranks, or an axis that is not built yet with a size above 1.
    ProcessGrid(std::unique_ptr<Communicator> world, GridOptions const& options);

    // Chooses how memory of `device` goes from rank to rank (comm/transport.h, its errors), and makes what that takes,
    // for all axes. Collective over the world, once, before collectives() is used; the device must outlive the grid.
    void connect(Device& device);
    // Of the device's memory along `axis`: what connect() made, or, without it, staged ones for the caller alone.
    std::shared_ptr<DeviceCollectives> collectives(Axis axis, Device& device) const;

    Communicator& world() const { return *world_; }
    // The ranks that differ from this one along `axis` alone.
    Communicator& axis(Axis axis) const { return *axes_[static_cast<std::size_t>(axis)]; }
    Communicator& data() const { return axis(Axis::data); }
    int size(Axis axis) const { return this->axis(axis).size(); }
    int coordinate(Axis axis) const { return this->axis(axis).rank(); }
    bool is_root() const { return world_->rank() == 0; }
    std::string description() const;  // "data 4" or "tensor 2 x data 2"

  private:
    std::unique_ptr<Communicator> world_;
    std::array<std::unique_ptr<Communicator>, axis_count> axes_;
    Transport transport_;
    Device const* connected_ = nullptr;
    std::array<std::shared_ptr<DeviceCollectives>, axis_count> collectives_;
};

}  // namespace selvage
