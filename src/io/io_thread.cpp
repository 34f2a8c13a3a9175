// SPDX-License-Identifier: Apache-2.0
#include "io/io_thread.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "base/log.h"

namespace selvage::io {

struct IoThread::Queue {
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<std::function<void()>> jobs;
    bool closing = false;
    std::thread worker;

    Queue() : worker([this] { work(); }) {}
    ~Queue() {
        {
            std::lock_guard const lock(mutex);
            closing = true;
        }
        changed.notify_one();
        worker.join();
    }

    void work() {
        for (;;) {
            std::function<void()> job;
            {
                std::unique_lock lock(mutex);
                changed.wait(lock, [this] { return closing || !jobs.empty(); });
                if (jobs.empty()) return;
                job = std::move(jobs.front());
                jobs.pop_front();
            }
            job();
        }
    }
};

IoThread::IoThread(Communicator& world, bool mpi_has_threads) : communicator_(world.duplicate()) {
    if (mpi_has_threads)
        queue_ = std::make_unique<Queue>();
    else
        log::info("files are written in the main thread: this MPI has no MPI_THREAD_MULTIPLE");
}

IoThread::~IoThread() = default;  // the queue goes first, then the communicator its jobs use

void IoThread::post(std::function<void()> job) {
    if (!queue_) {
        job();
        return;
    }
    {
        std::lock_guard const lock(queue_->mutex);
        queue_->jobs.push_back(std::move(job));
    }
    queue_->changed.notify_one();
}

}  // namespace selvage::io
