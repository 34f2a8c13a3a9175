// SPDX-License-Identifier: Apache-2.0
#include "comm/device_collectives.h"

#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "comm/nccl/nccl_collectives.h"

namespace selvage {
namespace {

class HostCollectives final : public DeviceCollectives {
  public:
    explicit HostCollectives(Communicator& communicator) : communicator_(communicator) {}
    void all_gather(std::span<std::byte const> send, std::span<std::byte> recv, Stream&) override {
        std::vector<std::size_t> const counts(static_cast<std::size_t>(communicator_.size()), send.size());
        communicator_.all_gather_v(send, recv, counts);
    }
    void all_to_all_v(std::span<std::byte const> send, std::span<std::size_t const> send_counts,
                      std::span<std::byte> recv, std::span<std::size_t const> recv_counts, Stream&) override {
        communicator_.all_to_all_v(send, send_counts, recv, recv_counts);
    }
    void broadcast(std::span<std::byte> bytes, int root, Stream&) override { communicator_.broadcast(bytes, root); }
    std::string_view transport() const override { return "MPI"; }

  private:
    Communicator& communicator_;
};

// The device's own copies go through pinned memory.
class StagedCollectives final : public DeviceCollectives {
  public:
    StagedCollectives(Communicator& communicator, Device& device) : communicator_(communicator), device_(device) {}
    void all_gather(std::span<std::byte const> send, std::span<std::byte> recv, Stream& stream) override {
        SELVAGE_CHECK(recv.size() == send.size() * static_cast<std::size_t>(communicator_.size()),
                      "all_gather of {} into {} bytes", send.size(), recv.size());
        std::span<std::byte> const mine = first(sent_, send.size()), all = first(received_, recv.size());
        device_.copy_to_host(mine.data(), send.data(), send.size(), stream);
        communicator_.all_gather(mine, all);
        device_.copy_to_device(recv.data(), all.data(), all.size(), stream);
    }
    void all_to_all_v(std::span<std::byte const> send, std::span<std::size_t const> send_counts,
                      std::span<std::byte> recv, std::span<std::size_t const> recv_counts, Stream& stream) override {
        std::span<std::byte> const from = first(sent_, send.size()), to = first(received_, recv.size());
        device_.copy_to_host(from.data(), send.data(), send.size(), stream);
        communicator_.all_to_all_v(from, send_counts, to, recv_counts);
        device_.copy_to_device(recv.data(), to.data(), to.size(), stream);
    }
    void broadcast(std::span<std::byte> bytes, int root, Stream& stream) override {
        std::span<std::byte> const host = first(sent_, bytes.size());
        bool const is_root = communicator_.rank() == root;
        if (is_root) device_.copy_to_host(host.data(), bytes.data(), bytes.size(), stream);
        communicator_.broadcast(host, root);
        if (!is_root) device_.copy_to_device(bytes.data(), host.data(), bytes.size(), stream);
    }
    std::string_view transport() const override { return "MPI through host memory"; }

  private:
    static std::span<std::byte> first(std::vector<std::byte>& buffer, std::size_t bytes) {
        if (buffer.size() < bytes) buffer.resize(bytes);
        return std::span(buffer).first(bytes);
    }

    Communicator& communicator_;
    Device& device_;
    std::vector<std::byte> sent_, received_;
};

}  // namespace

bool all_differ(Communicator& communicator, std::span<std::byte const> identity) {
    std::size_t const bytes = identity.size();
    std::vector<std::byte> all(bytes * static_cast<std::size_t>(communicator.size()));
    communicator.all_gather(identity, all);
    std::set<std::string> seen;
    for (std::size_t at = 0; at < all.size(); at += bytes)
        if (!seen.emplace(reinterpret_cast<char const*>(all.data()) + at, bytes).second) return false;
    return true;
}

std::unique_ptr<DeviceCollectives> make_device_collectives(Communicator& communicator, Device& device,
                                                           Transport wanted) {
    if (device.kind() == DeviceKind::cpu) return std::make_unique<HostCollectives>(communicator);
#ifdef SELVAGE_NCCL
    bool const own_gpus = all_differ(communicator, gpu_identity());
    if (wanted == Transport::nccl && !own_gpus)
        fail(ExitCode::bad_data,
             "transport 'nccl', but several ranks have the same GPU; start one rank for each GPU or use 'staged'");
    if (wanted != Transport::staged && own_gpus) return make_nccl_collectives(communicator);
#else
    if (wanted == Transport::nccl) fail(ExitCode::bad_data, "transport 'nccl': not built with NCCL; use 'staged'");
#endif
    return std::make_unique<StagedCollectives>(communicator, device);
}

}  // namespace selvage
