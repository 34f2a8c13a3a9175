// SPDX-License-Identifier: Apache-2.0
#include "generate/distributed.h"

#include <algorithm>
#include <deque>
#include <tuple>
#include <utility>

#include "base/bytes.h"
#include "base/timer.h"
#include "generate/group_queue.h"

namespace selvage {
namespace {

constexpr auto draft_fields = [](auto& stream, auto& draft) {
    stream.value(draft.example);
    stream.value(draft.sample);
    stream.value(draft.turn);
    stream.value(draft.finish);
    stream.list(draft.tokens);
    stream.list(draft.logprob);
    stream.list(draft.sampled_logprob);
};

}  // namespace

DistributedDrafts run_distributed(Engine& engine, Communicator& axis, std::int64_t round, std::int64_t streams,
                                  DistributedWork const& work, Communicator* group) {
    DistributedDrafts result;
    Timer const timer;
    GroupQueue queue(axis, group, work.items, streams);
    std::deque<DraftRequest> followers;
    std::int64_t under_way = 0;
    Engine::Hooks hooks;
    hooks.next = [&]() -> std::optional<DraftRequest> {
        std::optional<DraftRequest> request;
        if (!followers.empty()) {
            request = std::move(followers.front());
            followers.pop_front();
        } else if (auto const item = queue.next()) {
            request = work.request(*item);
        }
        if (request) ++under_way;
        return request;
    };
    hooks.exhausted = [&] { return followers.empty() && queue.exhausted() && (!work.follow_up || under_way == 0); };
    hooks.done = [&](Draft&& draft) {
        --under_way;
        if (work.follow_up)
            if (auto next = work.follow_up(draft)) followers.push_back(std::move(*next));
        result.drafts.push_back(std::move(draft));
    };
    hooks.progress = [&] {
        return queue.progress(!work.progress || work.progress(static_cast<std::int64_t>(result.drafts.size())));
    };
    engine.run(round, hooks);
    result.busy_seconds = timer.seconds();
    queue.finish();
    return result;
}

std::vector<Draft> gather_drafts(Communicator& axis, std::vector<Draft> const& mine) {
    ByteWriter writer;
    for (Draft const& draft : mine) draft_fields(writer, draft);
    std::vector<Draft> all;
    for (auto const& part : gather_bytes(axis, writer.bytes(), 0)) {
        ByteReader reader(part);
        while (!reader.at_end()) draft_fields(reader, all.emplace_back());
    }
    std::sort(all.begin(), all.end(), [](Draft const& a, Draft const& b) {
        return std::tie(a.example, a.sample, a.turn) < std::tie(b.example, b.sample, b.turn);
    });
    return all;
}

}  // namespace selvage
