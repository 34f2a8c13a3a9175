// SPDX-License-Identifier: Apache-2.0
#include "driver/rounds.h"

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <iostream>
#include <span>
#include <thread>

#include "base/timer.h"

namespace selvage::bench {
namespace {

constexpr int round_tag = 7001;
constexpr auto nap = std::chrono::milliseconds(10);

void print(Numbers const& numbers) {
    char const* separator = "";
    std::string line = "{";
    for (auto const& [name, value] : numbers) {
        line += fmt::format("{}\"{}\": {:.9g}", separator, name, value);
        separator = ", ";
    }
    std::printf("%s}\n", line.c_str());
    std::fflush(stdout);
}

// The decision of rank 0 whether there is another round.
bool another(Communicator& world) {
    std::byte go{0};
    if (world.rank() == 0) {
        std::string line;
        go = std::byte{std::getline(std::cin, line) ? std::uint8_t{1} : std::uint8_t{0}};
        for (int rank = 1; rank < world.size(); ++rank) world.send(std::span(&go, 1), rank, round_tag);
    } else {
        Message message;
        while (!world.poll(round_tag, message)) std::this_thread::sleep_for(nap);
        go = message.bytes.at(0);
    }
    return go == std::byte{1};
}

}  // namespace

void serve_rounds(Communicator& world, Numbers const& about, std::function<Numbers()> const& round) {
    if (world.rank() == 0) print(about);
    while (another(world)) {
        Numbers const numbers = round();
        if (world.rank() == 0) print(numbers);
    }
}

double timed(Communicator& world, std::function<void()> const& work) {
    world.barrier();
    Timer const timer;
    work();
    world.barrier();
    return timer.seconds();
}

}  // namespace selvage::bench
