// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <mpi.h>

#include <list>
#include <memory>

#include "base/timer.h"
#include "comm/communicator.h"

namespace selvage {

// Throws Error(system) naming the call where an MPI call failed.
void check_mpi(int status, char const* call);

class MpiCommunicator final : public Communicator {
  public:
    // Takes ownership of `handle`, a communicator made for this object.
    explicit MpiCommunicator(MPI_Comm handle);
    ~MpiCommunicator() override;

    int rank() const override { return rank_; }
    int size() const override { return size_; }
    void barrier() override;
    void broadcast(std::span<std::byte> bytes, int root) override;
    void all_gather(std::span<std::byte const> send, std::span<std::byte> recv) override;
    void all_gather_v(std::span<std::byte const> send, std::span<std::byte> recv,
                      std::span<std::size_t const> counts) override;
    void all_to_all_v(std::span<std::byte const> send, std::span<std::size_t const> send_counts,
                      std::span<std::byte> recv, std::span<std::size_t const> recv_counts) override;
    void all_reduce(std::span<std::int64_t> values, Reduction reduction) override;
    void send(std::span<std::byte const> bytes, int destination, int tag) override;
    std::vector<std::byte> receive(int source, int tag) override;
    bool poll(int tag, Message& message) override;
    std::unique_ptr<Transfer> start_send(std::span<std::byte const> bytes, int destination, int tag) override;
    std::unique_ptr<Transfer> start_receive(std::span<std::byte> bytes, int source, int tag) override;
    double seconds() const override { return seconds_; }
    bool allows_threads() const override;
    std::unique_ptr<Communicator> duplicate() override;
    std::unique_ptr<Communicator> split(int color, int key) override;
    std::unique_ptr<Communicator> split_by_node() override;
    void* native_handle() override { return &handle_; }

  private:
    struct Pending {
        std::vector<std::byte> bytes;
        MPI_Request request = MPI_REQUEST_NULL;
    };
    // Adds its lifetime to seconds_; one inside another does not count.
    class Blocking {
      public:
        explicit Blocking(MpiCommunicator& communicator) : of_(communicator), inner_(communicator.blocking_) {
            of_.blocking_ = true;
        }
        ~Blocking() {
            if (inner_) return;
            of_.blocking_ = false;
            of_.seconds_ += timer_.seconds();
        }
        Blocking(Blocking const&) = delete;
        Blocking& operator=(Blocking const&) = delete;

      private:
        MpiCommunicator& of_;
        bool inner_;
        Timer timer_;
    };
    void free_finished_sends();
    std::vector<std::byte> take(MPI_Status const& probed);

    MPI_Comm handle_;
    int rank_ = 0;
    int size_ = 1;
    std::list<Pending> pending_;
    double seconds_ = 0;
    bool blocking_ = false;
};

}  // namespace selvage
