// SPDX-License-Identifier: Apache-2.0
#pragma once
// A communicator as of an MPI that gives no threads.
#include <memory>
#include <utility>

#include "comm/communicator.h"

namespace selvage::test {

class WithoutThreads final : public Communicator {
  public:
    explicit WithoutThreads(std::unique_ptr<Communicator> real) : real_(std::move(real)) {}
    bool allows_threads() const override { return false; }

    int rank() const override { return real_->rank(); }
    int size() const override { return real_->size(); }
    void barrier() override { real_->barrier(); }
    void broadcast(std::span<std::byte> bytes, int root) override { real_->broadcast(bytes, root); }
    void all_gather(std::span<std::byte const> send, std::span<std::byte> recv) override {
        real_->all_gather(send, recv);
    }
    void all_gather_v(std::span<std::byte const> send, std::span<std::byte> recv,
                      std::span<std::size_t const> counts) override {
        real_->all_gather_v(send, recv, counts);
    }
    void all_to_all_v(std::span<std::byte const> send, std::span<std::size_t const> send_counts,
                      std::span<std::byte> recv, std::span<std::size_t const> recv_counts) override {
        real_->all_to_all_v(send, send_counts, recv, recv_counts);
    }
    void all_reduce(std::span<std::int64_t> values, Reduction reduction) override {
        real_->all_reduce(values, reduction);
    }
    void send(std::span<std::byte const> bytes, int destination, int tag) override {
        real_->send(bytes, destination, tag);
    }
    std::vector<std::byte> receive(int source, int tag) override { return real_->receive(source, tag); }
    bool poll(int tag, Message& message) override { return real_->poll(tag, message); }
    std::unique_ptr<Transfer> start_send(std::span<std::byte const> bytes, int destination, int tag) override {
        return real_->start_send(bytes, destination, tag);
    }
    std::unique_ptr<Transfer> start_receive(std::span<std::byte> bytes, int source, int tag) override {
        return real_->start_receive(bytes, source, tag);
    }
    double seconds() const override { return real_->seconds(); }
    std::unique_ptr<Communicator> duplicate() override { return wrapped(real_->duplicate()); }
    std::unique_ptr<Communicator> split(int color, int key) override { return wrapped(real_->split(color, key)); }
    std::unique_ptr<Communicator> split_by_node() override { return wrapped(real_->split_by_node()); }
    void* native_handle() override { return real_->native_handle(); }

  private:
    static std::unique_ptr<Communicator> wrapped(std::unique_ptr<Communicator> real) {
        return real == nullptr ? nullptr : std::make_unique<WithoutThreads>(std::move(real));
    }
    std::unique_ptr<Communicator> real_;
};

}  // namespace selvage::test
