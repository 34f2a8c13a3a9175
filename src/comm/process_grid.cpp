// SPDX-License-Identifier: Apache-2.0
#include "comm/process_grid.h"

#include "base/error.h"
#include "base/log.h"

namespace selvage {

char const* name_of(Axis axis) {
    constexpr char const* names[] = {"tensor", "context", "expert", "pipeline", "data"};
    return names[static_cast<int>(axis)];
}

ProcessGrid::ProcessGrid(std::unique_ptr<Communicator> world, GridOptions const& options)
    : world_(std::move(world)), transport_(options.transport) {
    std::array<std::int64_t, axis_count> sizes = {options.tensor, options.context, options.expert, options.pipeline,
                                                  options.data};
    std::int64_t others = 1;
    for (int a = 0; a < axis_count - 1; ++a) {
        auto const size = sizes[static_cast<std::size_t>(a)];
        char const* const name = name_of(static_cast<Axis>(a));
        if (size < 1)
            fail(ExitCode::bad_data, "grid.{} is {} (an axis has at least one rank); set it to 1", name, size);
        if (size > 1 && a != static_cast<int>(Axis::tensor))
            fail(ExitCode::bad_data,
                 "grid.{} is {}, but this version splits along the tensor and data axes only; set it to 1", name, size);
        others *= size;
    }
    std::int64_t& data = sizes[static_cast<std::size_t>(Axis::data)];
    std::int64_t const ranks = world_->size();
    if (data < 0) fail(ExitCode::bad_data, "grid.data is {}; use 0 for all remaining ranks", data);
    if (data == 0 && ranks % others != 0)
        fail(ExitCode::bad_data, "the job has {} ranks, not a multiple of the {} that grid.tensor = {} takes; start {}",
             ranks, others, options.tensor, (ranks / others + 1) * others);
    if (data == 0) data = ranks / others;
    if (data * others != ranks)
        fail(ExitCode::bad_data,
             "the grid has {} ranks (grid.data = {}), but the job has {}; start {} ranks or set grid.data = 0",
             data * others, data, ranks, data * others);

    std::int64_t below = 1;  // ranks per step along this axis
    for (int a = 0; a < axis_count; ++a) {
        std::int64_t const size = sizes[static_cast<std::size_t>(a)];
        std::int64_t const rank = world_->rank();
        std::int64_t const along = rank / below % size;
        axes_[static_cast<std::size_t>(a)] =
            world_->split(static_cast<int>(rank - along * below), static_cast<int>(along));
        below *= size;
    }
}

void ProcessGrid::connect(Device& device) {
    TransportChoice const choice = choose_transport(*world_, device, transport_);
    agree(*world_, [&] {
        for (std::size_t a = 0; a < axes_.size(); ++a) {
            // A rank alone sends nothing: it needs no NCCL.
            Transport const transport = axes_[a]->size() > 1 ? choice.transport : Transport::staged;
            collectives_[a] = make_device_collectives(*axes_[a], device, transport);
        }
    });
    connected_ = &device;
    if (device.kind() == DeviceKind::cpu || world_->size() == 1) return;
    if (choice.transport == Transport::nccl)
        log::info("ranks exchange device memory by NCCL");
    else
        log::info("ranks exchange device memory through the host's: {}", choice.reason);
}

std::shared_ptr<DeviceCollectives> ProcessGrid::collectives(Axis axis, Device& device) const {
    if (connected_ == &device) return collectives_[static_cast<std::size_t>(axis)];
    return make_device_collectives(this->axis(axis), device);
}

std::string ProcessGrid::description() const {
    std::string text;
    for (int a = 0; a < axis_count; ++a) {
        auto const axis = static_cast<Axis>(a);
        if (size(axis) > 1 || axis == Axis::data)
            text += fmt::format("{}{} {}", text.empty() ? "" : " x ", name_of(axis), size(axis));
    }
    return text;
}

}  // namespace selvage
