// SPDX-License-Identifier: Apache-2.0
#include "weave/weave.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "base/philox.h"
#include "weave/bash.h"
#include "weave/rac.h"
#include "weave/row.h"

namespace selvage::weave {
namespace {

char const* const audit_names[] = {"examples",
                                   "examples_without_rows",
                                   "drafts",
                                   "rows",
                                   "rows_plain",
                                   "rows_bash",
                                   "rows_rac",
                                   "positions",
                                   "own_positions",
                                   "own_used",
                                   "own_equal_gold",
                                   "special_made_gold",
                                   "beyond_draft",
                                   "drafts_rac",
                                   "drafts_kept",
                                   "drafts_right",
                                   "drafts_truncated",
                                   "rejected_right",
                                   "rejected_truncated",
                                   "rejected_overflow",
                                   "cut",
                                   "draft_tokens_with_loss"};

class Weaver {
  public:
    Weaver(WeaveOptions const& options, WeaveMethod method, WeaveInput const& input, Tokenizer const& tokenizer)
        : options_(options), method_(method), input_(input), tokenizer_(tokenizer) {
        for (char const* name : audit_names) result_.audit[name] = 0;
        if (method == WeaveMethod::rac || method == WeaveMethod::both) marker_ = tokenizer.encode(options.rac.marker);
        index_drafts();
    }

    WeaveResult run() {
        for (Example const& example : input_.examples) {
            std::size_t const before = result_.rows.size();
            switch (method_of_example(options_, method_, input_.seed, input_.round, example.index)) {
                case WeaveMethod::bash:
                    add_bash(example);
                    break;
                case WeaveMethod::rac:
                    add_rac(example);
                    break;
                default:
                    add_plain(example, 1);
                    break;
            }
            ++result_.audit["examples"];
            if (result_.rows.size() == before) ++result_.audit["examples_without_rows"];
        }
        std::sort(result_.rows.begin(), result_.rows.end(), [](Woven const& a, Woven const& b) {
            return std::tie(a.example, a.sample, a.method) < std::tie(b.example, b.sample, b.method);
        });
        result_.audit["rows"] = static_cast<std::int64_t>(result_.rows.size());
        return std::move(result_);
    }

  private:
    void index_drafts() {
        if (method_ == WeaveMethod::none) return;
        for (Draft const& draft : input_.drafts) {
            if (draft.turn != 0) continue;
            bool const first = drafts_.emplace(std::pair(draft.example, draft.sample), &draft).second;
            SELVAGE_CHECK(first, "two drafts of example {}, sample {}", draft.example, draft.sample);
        }
        result_.audit["drafts"] = static_cast<std::int64_t>(drafts_.size());
    }

    Draft const& draft_of(Example const& example, std::int32_t sample) const {
        auto const found = drafts_.find({example.index, sample});
        SELVAGE_CHECK(found != drafts_.end(), "no draft of example {}, sample {}", example.index, sample);
        return *found->second;
    }

    void add(Woven row, char const* kind) {
        check_row(row);
        result_.rows.push_back(std::move(row));
        ++result_.audit[kind];
    }

    void add_plain(Example const& example, double weight) {
        if (weight > 0) add(weave_plain(example, 0, static_cast<float>(weight)), "rows_plain");
    }

    void add_bash(Example const& example) {
        double const progress = schedule_progress(input_.round, input_.schedule_rounds);
        auto const length = static_cast<std::int64_t>(example.answer.size());
        for (std::int32_t sample = 0; sample < input_.samples; ++sample) {
            std::span<Token const> own;
            if (length > 1) own = draft_of(example, sample).tokens;
            auto const coins =
                bash_coins(options_.bash, input_.seed, input_.round, progress, example.index, sample, length);
            std::int64_t special = 0;
            Woven row = weave_bash(example, sample, own, coins, tokenizer_.special(), &special);
            count_bash(example, row, own, coins);
            result_.audit["special_made_gold"] += special;
            add(std::move(row), "rows_bash");
        }
        add_plain(example, options_.bash.gold_weight);
    }

    void count_bash(Example const& example, Woven const& row, std::span<Token const> own,
                    std::span<std::uint8_t const> coins) {
        auto& audit = result_.audit;
        for (std::size_t i = 0; i < coins.size(); ++i) {
            std::size_t const at = example.prompt.size() + i;
            bool const used = row.origin[at] == Origin::generated;
            ++audit["positions"];
            audit["own_positions"] += coins[i];
            audit["own_used"] += used ? 1 : 0;
            audit["own_equal_gold"] += used && row.input_tokens[at] == example.answer[i] ? 1 : 0;
            audit["beyond_draft"] += coins[i] != 0 && i >= own.size() ? 1 : 0;
        }
    }

    void add_rac(Example const& example) {
        std::string const gold = tokenizer_.decode(example.answer);
        std::size_t const before = result_.rows.size();
        for (std::int32_t sample = 0; sample < input_.samples; ++sample) {
            Draft const& draft = draft_of(example, sample);
            ++result_.audit["drafts_rac"];
            if (!keeps(draft, gold)) continue;
            bool cut = false;
            auto row =
                weave_rac(example, draft, marker_, input_.context, options_.rac.overflow, tokenizer_.special(), &cut);
            if (!row) {
                ++result_.audit["rejected_overflow"];
                continue;
            }
            ++result_.audit["drafts_kept"];
            result_.audit["cut"] += cut ? 1 : 0;
            add(std::move(*row), "rows_rac");
        }
        // The plain row stands beside a correction: without one there is none.
        if (result_.rows.size() > before) add_plain(example, options_.rac.gold_weight);
    }

    // weave.rac.truncated and weave.rac.keep, counted.
    bool keeps(Draft const& draft, std::string const& gold) {
        auto& audit = result_.audit;
        RacOptions const& rac = options_.rac;
        bool const right = rac_score(rac.score, tokenizer_.decode(draft.tokens), gold) >= rac.threshold;
        bool const truncated = draft.finish != FinishReason::end_of_answer;
        audit["drafts_right"] += right ? 1 : 0;
        audit["drafts_truncated"] += truncated ? 1 : 0;
        if (truncated && rac.truncated == RacTruncated::drop) {
            ++audit["rejected_truncated"];
            return false;
        }
        if (!right || rac.keep == RacKeep::all) return true;
        if (rac.keep == RacKeep::wrong_some) {
            Random const random(input_.seed, Purpose::rac_keep);
            double const u =
                random.uniform({static_cast<std::uint32_t>(input_.round), static_cast<std::uint32_t>(draft.example), 0,
                                static_cast<std::uint16_t>(draft.sample)});
            if (u < rac.right_fraction) return true;
        }
        ++audit["rejected_right"];
        return false;
    }

    WeaveOptions const& options_;
    WeaveMethod method_;
    WeaveInput const& input_;
    Tokenizer const& tokenizer_;
    std::vector<Token> marker_;
    std::map<std::pair<std::int64_t, std::int32_t>, Draft const*> drafts_;
    WeaveResult result_;
};

}  // namespace

WeaveMethod method_of_example(WeaveOptions const& options, WeaveMethod method, std::uint64_t seed, std::int64_t round,
                              std::int64_t example) {
    if (method != WeaveMethod::both) return method;
    Random const random(seed, Purpose::method);
    double const u = random.uniform({static_cast<std::uint32_t>(round), static_cast<std::uint32_t>(example)});
    return u < options.rac_fraction ? WeaveMethod::rac : WeaveMethod::bash;
}

WeaveResult weave_round(WeaveOptions const& options, WeaveMethod method, WeaveInput const& input,
                        Tokenizer const& tokenizer) {
    return Weaver(options, method, input, tokenizer).run();
}

}  // namespace selvage::weave
