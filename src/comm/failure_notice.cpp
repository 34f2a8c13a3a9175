// SPDX-License-Identifier: Apache-2.0
#include "comm/failure_notice.h"

#include <cstring>
#include <vector>

namespace selvage {
namespace {

constexpr int failure_tag = 31999;

}  // namespace

void send_failure(Communicator& ranks, ExitCode code, std::string const& message) {
    auto const number = static_cast<std::int32_t>(code);
    std::vector<std::byte> bytes(sizeof number + message.size());
    std::memcpy(bytes.data(), &number, sizeof number);
    std::memcpy(bytes.data() + sizeof number, message.data(), message.size());
    for (int r = 0; r < ranks.size(); ++r)
        if (r != ranks.rank()) ranks.send(bytes, r, failure_tag);
}

std::optional<Error> poll_failure(Communicator& ranks) {
    Message message;
    if (!ranks.poll(failure_tag, message)) return std::nullopt;
    std::int32_t number = 0;
    std::memcpy(&number, message.bytes.data(), sizeof number);
    std::string const text(reinterpret_cast<char const*>(message.bytes.data()) + sizeof number,
                           message.bytes.size() - sizeof number);
    return Error(static_cast<ExitCode>(number), fmt::format("{} (on rank {})", text, message.source));
}

}  // namespace selvage
