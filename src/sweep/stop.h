// SPDX-License-Identifier: Apache-2.0
#pragma once
// When a run ends early: a signal (USR1, USR2, TERM), the wall time, or a file STOP in the output folder; and a
// watchdog for a run that hangs.
#include <pthread.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <thread>

#include "base/timer.h"
#include "comm/communicator.h"

namespace selvage {

// "hh:mm:ss" or "mm:ss" in seconds. Error (bad_data): anything else.
double parse_walltime(std::string const& text);

// From here on USR1, USR2 and TERM ask this process to stop; a second one ends it at once. First thing in main, so that
// a signal during the start is not lost.
void watch_stop_signals();

class StopRequest {
  public:
    // walltime in seconds from now, 0 for none; the run is asked to stop `margin` seconds before it. Only a rank that
    // `watches_folder` looks for the file, about once a second (a parallel file system should not feel it).
    StopRequest(std::filesystem::path folder, double walltime, double margin, bool watches_folder);

    // This rank alone: why it should stop, "" where it should not.
    std::string reason() const;
    // All ranks together: true as soon as one has a reason, and from then on. Collective.
    bool agreed(Communicator& world);

  private:
    std::filesystem::path folder_;
    double deadline_;
    bool watches_folder_;
    bool agreed_ = false;
    Timer timer_;
    mutable double looked_ = -1;  // when the folder was last looked at
    mutable bool found_ = false;
};

// When there was no heartbeat (base/heartbeat.h) for `minutes` it says where the thread that made it is, and ends the
// process, a little later, so that others can say where they are. One that waits for others leaves that to them, for as
// long again. Time in which the process was suspended (SIGSTOP, as some schedulers do it) does not count.
class Watchdog {
  public:
    Watchdog(double minutes, int rank);
    ~Watchdog();

  private:
    void watch(double minutes, int rank, pthread_t watched) const;
    std::atomic<bool> ended_ = false;
    std::thread thread_;
};

}  // namespace selvage
