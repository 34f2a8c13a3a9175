// SPDX-License-Identifier: Apache-2.0
#pragma once
// Records as bytes (base/bytes.h), for messages between ranks and for journals.
#include "base/bytes.h"
#include "text/records.h"

namespace selvage {

constexpr auto draft_fields = [](auto& stream, auto& draft) {
    stream.value(draft.example);
    stream.value(draft.sample);
    stream.value(draft.turn);
    stream.value(draft.finish);
    stream.list(draft.tokens);
    stream.list(draft.logprob);
    stream.list(draft.sampled_logprob);
};

}  // namespace selvage
