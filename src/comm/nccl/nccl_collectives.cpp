// SPDX-License-Identifier: Apache-2.0
#include "comm/nccl/nccl_collectives.h"

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <cstring>

#include "base/error.h"
#include "device/cuda/check.h"

namespace selvage {
namespace {

void check_nccl(ncclResult_t result, char const* call, ncclComm_t communicator = nullptr) {
    if (result == ncclSuccess) return;
    fail(ExitCode::system, "{} failed ({}): {}", call, ncclGetErrorString(result), ncclGetLastError(communicator));
}

class NcclCollectives final : public DeviceCollectives {
  public:
    explicit NcclCollectives(Communicator& communicator) : rank_(communicator.rank()) {
        ncclUniqueId id{};
        agree(communicator, [&] {
            if (rank_ == 0) check_nccl(ncclGetUniqueId(&id), "ncclGetUniqueId");
        });
        communicator.broadcast(std::as_writable_bytes(std::span(&id, 1)), 0);
        ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
        check_nccl(ncclCommInitRankConfig(&communicator_, communicator.size(), id, rank_, &config),
                   "ncclCommInitRankConfig");
    }
    NcclCollectives(NcclCollectives const&) = delete;
    NcclCollectives& operator=(NcclCollectives const&) = delete;
    ~NcclCollectives() override { ncclCommDestroy(communicator_); }

    void all_gather(std::span<std::byte const> send, std::span<std::byte> recv, Stream& stream) override {
        check(ncclAllGather(send.data(), recv.data(), send.size(), ncclUint8, communicator_, native(stream)),
              "ncclAllGather");
    }
    void all_to_all_v(std::span<std::byte const> send, std::span<std::size_t const> send_counts,
                      std::span<std::byte> recv, std::span<std::size_t const> recv_counts, Stream& stream) override {
        check(ncclGroupStart(), "ncclGroupStart");
        std::size_t sent = 0, received = 0;
        for (std::size_t r = 0; r < send_counts.size(); ++r) {
            int const peer = static_cast<int>(r);
            check(ncclSend(send.data() + sent, send_counts[r], ncclUint8, peer, communicator_, native(stream)),
                  "ncclSend");
            check(ncclRecv(recv.data() + received, recv_counts[r], ncclUint8, peer, communicator_, native(stream)),
                  "ncclRecv");
            sent += send_counts[r];
            received += recv_counts[r];
        }
        check(ncclGroupEnd(), "ncclGroupEnd");
    }
    void broadcast(std::span<std::byte> bytes, int root, Stream& stream) override {
        check(ncclBroadcast(bytes.data(), bytes.data(), bytes.size(), ncclUint8, root, communicator_, native(stream)),
              "ncclBroadcast");
    }
    std::string_view transport() const override { return "NCCL"; }

  private:
    static cudaStream_t native(Stream& stream) { return static_cast<cudaStream_t>(stream.native()); }
    void check(ncclResult_t result, char const* call) const { check_nccl(result, call, communicator_); }

    int rank_;
    ncclComm_t communicator_ = nullptr;
};

}  // namespace

std::array<std::byte, 16> gpu_identity() {
    int device = 0;
    SELVAGE_CUDA_CHECK(cudaGetDevice(&device));
    cudaDeviceProp properties{};
    SELVAGE_CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
    std::array<std::byte, 16> identity{};
    std::memcpy(identity.data(), &properties.uuid, identity.size());
    return identity;
}

std::unique_ptr<DeviceCollectives> make_nccl_collectives(Communicator& communicator) {
    return std::make_unique<NcclCollectives>(communicator);
}

}  // namespace selvage
