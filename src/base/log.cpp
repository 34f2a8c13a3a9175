// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

namespace selvage::log {
namespace {

struct State {
    std::shared_ptr<spdlog::logger> logger;
    int rank = 0;
    int size = 1;
    State()
        : logger(std::make_shared<spdlog::logger>("selvage", std::make_shared<spdlog::sinks::stderr_color_sink_mt>())) {
        logger->set_pattern("%Y-%m-%dT%H:%M:%S %^%l%$ %v");
        logger->flush_on(spdlog::level::debug);
    }
};

State& state() {
    static State instance;
    return instance;
}

spdlog::level::level_enum level_of(Level level) {
    switch (level) {
        case Level::debug:
            return spdlog::level::debug;
        case Level::info:
            return spdlog::level::info;
        case Level::warning:
            return spdlog::level::warn;
        case Level::error:
            return spdlog::level::err;
    }
    return spdlog::level::info;
}

}  // namespace

void set_rank(int rank, int size) {
    state().rank = rank;
    state().size = size;
}

void set_level(Level level) { state().logger->set_level(level_of(level)); }

bool is_root() { return state().rank == 0; }

void write(Level level, std::string_view message) {
    State& s = state();
    bool const quiet = level == Level::debug || level == Level::info;
    if (quiet && s.rank != 0) return;
    if (!quiet && s.size > 1)
        s.logger->log(level_of(level), "[rank {}] {}", s.rank, message);
    else
        s.logger->log(level_of(level), "{}", message);
}

}  // namespace selvage::log
