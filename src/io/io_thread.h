// SPDX-License-Identifier: Apache-2.0
#pragma once
// The one thread of a process that makes HDF5 calls (the library is not thread-safe), with its own communicator.
#include <functional>
#include <future>
#include <memory>
#include <type_traits>

#include "comm/communicator.h"

namespace selvage::io {

class IoThread {
  public:
    // Collective over `world`, which is duplicated. Without MPI_THREAD_MULTIPLE jobs run in the caller, at once, and a
    // line in the log says so.
    IoThread(Communicator& world, bool mpi_has_threads);
    ~IoThread();  // waits for what was submitted
    IoThread(IoThread const&) = delete;
    IoThread& operator=(IoThread const&) = delete;

    // Jobs run one after the other, in the order submitted. A job that is collective must be submitted by every rank,
    // in the same order with respect to the other collective jobs. Exceptions arrive at the future.
    template <class Job>
    auto submit(Job job) -> std::future<std::invoke_result_t<Job>> {
        auto task = std::make_shared<std::packaged_task<std::invoke_result_t<Job>()>>(std::move(job));
        auto result = task->get_future();
        post([task] { (*task)(); });
        return result;
    }
    template <class Job>
    auto call(Job job) {
        return submit(std::move(job)).get();
    }
    // For use inside jobs only.
    Communicator& communicator() const { return *communicator_; }

  private:
    void post(std::function<void()> job);
    struct Queue;
    std::unique_ptr<Communicator> communicator_;
    std::unique_ptr<Queue> queue_;
};

}  // namespace selvage::io
