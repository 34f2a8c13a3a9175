// SPDX-License-Identifier: Apache-2.0
#include "generate/distributed.h"

#include <algorithm>
#include <deque>
#include <tuple>
#include <utility>

#include "base/timer.h"
#include "generate/group_queue.h"
#include "text/record_bytes.h"

namespace selvage {
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
        if (work.finished) work.finished(draft);
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

void sort_drafts(std::vector<Draft>& drafts) {
    std::sort(drafts.begin(), drafts.end(), [](Draft const& a, Draft const& b) {
        return std::tie(a.example, a.sample, a.turn) < std::tie(b.example, b.sample, b.turn);
    });
}

std::vector<Draft> gather_drafts(Communicator& axis, std::vector<Draft> const& mine) {
    ByteWriter writer;
    for (Draft const& draft : mine) draft_fields(writer, draft);
    std::vector<Draft> all;
    for (auto const& part : gather_bytes(axis, writer.bytes(), 0)) {
        ByteReader reader(part);
        while (!reader.at_end()) draft_fields(reader, all.emplace_back());
    }
    sort_drafts(all);
    return all;
}

}  // namespace selvage
