// SPDX-License-Identifier: Apache-2.0
#include "model/vocabulary.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/cross_entropy.h"
#include "kernels/softmax.h"
#include "kernels/vocabulary_shard.h"
#include "model/shard_sampler.h"
#include "model/word_exchange.h"
#include "tensor/host_copy.h"

namespace selvage {

using kernels::BlockSum;
using kernels::LargestLogit;

// The collective half.
class Vocabulary::Shards {
  public:
    Shards(Communicator& axis, std::vector<Range> const& parts, Arena* arena)
        : axis_(axis),
          part_(parts[static_cast<std::size_t>(axis.rank())]),
          exchange_(axis),
          sampler_(axis, part_, arena),
          counts_(parts.size()) {
        for (Range const& part : parts)
            blocks_.push_back(static_cast<std::size_t>(kernels::vocabulary_blocks(part.size())));
    }

    void log_sum_exp(TensorView out, TensorView logits, Stream& stream) {
        auto const rows = static_cast<std::size_t>(logits.dim(0));
        sum_blocks({}, logits, 0, stream);
        for (BlockSum const& sum : sums_) exchange_.put(sum);
        for (std::size_t rank = 0; rank < blocks_.size(); ++rank) counts_[rank] = rows * blocks_[rank];
        exchange_.gather(counts_);
        merge(out, rows, 0, stream);
    }

    void target_log_probability(TensorView out, TensorView logits, TensorView log_sum_exp, TensorView targets,
                                Stream& stream) {
        auto const rows = static_cast<std::size_t>(logits.dim(0));
        values_.resize(rows);
        kernels::shard_target_log_probability(values_, logits, log_sum_exp, targets, part_.begin, stream);
        // One rank has a number, the others have zeros, so that the sum of the bits is that of the number.
        bits_.clear();
        for (float const value : values_) bits_.push_back(std::bit_cast<std::uint32_t>(value));
        axis_.all_reduce(bits_, Reduction::sum);
        HostRows<float> const values(out, values_);
        for (std::size_t row = 0; row < rows; ++row)
            values[row] = std::bit_cast<float>(static_cast<std::uint32_t>(bits_[row]));
        values.send(stream);
    }

    void argmax(TensorView out, TensorView logits, std::int64_t ids, Stream& stream) {
        find_largest(logits, ids, stream);
        for (LargestLogit const& own : largest_) exchange_.put(own);
        exchange_.gather();
        HostRows<std::int32_t> const ids_out(out, tokens_);
        for (std::size_t row = 0; row < largest_.size(); ++row)
            ids_out[row] = id_of(merged_largest([&](std::size_t) { return row; }));
        ids_out.send(stream);
    }

    // Returns whether every row has tokens of any weight.
    bool sample(TensorView tokens, TensorView log_probability, TensorView sums, TensorView logits, std::int64_t ids,
                std::span<kernels::Sampling const> rows, Stream& stream) {
        bool const summed = !sums.empty();
        gather_largest(sums, logits, ids, rows, stream);
        std::span<float const> const sums_here = summed ? on_host(sums, sums_here_, stream) : std::span<float const>();
        HostRows<std::int32_t> const drawn(tokens, tokens_);
        HostRows<float> const shares(log_probability, values_);
        bool weightless = false;
        for (std::size_t row = 0; row < rows.size(); ++row) {
            auto const temperature = static_cast<float>(rows[row].temperature);
            LargestLogit const& largest = largest_[row];
            std::int32_t& token = drawn[row];
            token = 0;
            shares[row] = 0;
            if (summed && !std::isfinite(sums_here[row])) continue;
            if (temperature == 0)
                token = id_of(largest);
            else if (!std::isfinite(largest.logit))
                weightless = true;
            else
                sampler_.add({static_cast<std::int64_t>(row), largest.logit, temperature, rows[row].top_k}, rows[row]);
        }
        sampler_.draw(drawn.data(), shares.data(), {logits, own_ids(ids), ids}, stream);
        drawn.send(stream);
        shares.send(stream);
        std::span<std::int32_t const> const all(drawn.data(), rows.size());
        return !weightless && std::ranges::all_of(all, [](std::int32_t token) { return token >= 0; });
    }

  private:
    // Of this part, that may be drawn.
    std::int64_t own_ids(std::int64_t ids) const { return Range{0, ids}.intersect(part_).size(); }

    static std::int32_t id_of(LargestLogit const& largest) { return std::max(largest.column, 0); }

    void sum_blocks(std::span<float> largest, TensorView logits, std::int64_t ids, Stream& stream) {
        auto const rows = static_cast<std::size_t>(logits.dim(0));
        sums_.resize(rows * blocks_[static_cast<std::size_t>(axis_.rank())]);
        kernels::block_sums(sums_, largest, logits, ids, stream);
    }

    // Puts together the sums that the ranks sent, `behind` more records after those of each row.
    void merge(TensorView out, std::size_t rows, std::size_t behind, Stream& stream) {
        sums_.clear();
        for (std::size_t row = 0; row < rows; ++row)
            for (std::size_t rank = 0; rank < blocks_.size(); ++rank)
                for (std::size_t block = 0; block < blocks_[rank]; ++block)
                    sums_.push_back(exchange_.get<BlockSum>(rank, row * (blocks_[rank] + behind) + block));
        kernels::merge_block_sums(out, sums_, stream);
    }

    // Of this part, with ids for columns.
    void find_largest(TensorView logits, std::int64_t ids, Stream& stream) {
        largest_.resize(static_cast<std::size_t>(logits.dim(0)));
        kernels::shard_argmax(largest_, logits, own_ids(ids), stream);
        for (LargestLogit& own : largest_)
            if (own.column >= 0) own.column += static_cast<std::int32_t>(part_.begin);
    }

    // The largest that the ranks sent, rank r at index_of(r); ties to the lowest rank.
    template <class IndexOf>
    LargestLogit merged_largest(IndexOf const& index_of) const {
        LargestLogit best;
        for (std::size_t rank = 0; rank < blocks_.size(); ++rank) {
            auto const other = exchange_.get<LargestLogit>(rank, index_of(rank));
            if (other.logit > best.logit || (best.column < 0 && other.column >= 0 && other.logit == best.logit))
                best = other;
        }
        return best;
    }

    // largest_ of all parts, the ids where a row asks for them, and the log-sum-exp unless it is empty.
    void gather_largest(TensorView sums, TensorView logits, std::int64_t ids, std::span<kernels::Sampling const> rows,
                        Stream& stream) {
        bool const summed = !sums.empty();
        auto const own = static_cast<std::size_t>(axis_.rank());
        values_.resize(rows.size());
        if (summed) sum_blocks(values_, logits, own_ids(ids), stream);
        bool const with_ids = !summed || std::any_of(rows.begin(), rows.end(), [](kernels::Sampling const& options) {
            return static_cast<float>(options.temperature) == 0;
        });
        if (with_ids) find_largest(logits, ids, stream);
        largest_.resize(rows.size());
        for (std::size_t row = 0; row < rows.size(); ++row) {
            if (summed)
                for (BlockSum const& sum : std::span(sums_).subspan(row * blocks_[own], blocks_[own]))
                    exchange_.put(sum);
            exchange_.put(with_ids ? largest_[row] : LargestLogit{values_[row], -1});
        }
        auto const blocks = [&](std::size_t rank) { return summed ? blocks_[rank] : 0; };
        for (std::size_t rank = 0; rank < blocks_.size(); ++rank) counts_[rank] = rows.size() * (blocks(rank) + 1);
        exchange_.gather(counts_);
        if (summed) merge(sums, rows.size(), 1, stream);
        for (std::size_t row = 0; row < rows.size(); ++row)
            largest_[row] = merged_largest([&](std::size_t rank) { return row * (blocks(rank) + 1) + blocks(rank); });
    }

    Communicator& axis_;
    Range part_;
    WordExchange exchange_;
    ShardSampler sampler_;
    std::vector<std::size_t> blocks_, counts_;  // by rank
    std::vector<BlockSum> sums_;
    std::vector<LargestLogit> largest_;
    std::vector<float> values_, sums_here_;
    std::vector<std::int32_t> tokens_;
    std::vector<std::int64_t> bits_;
};

std::vector<Range> vocabulary_parts(std::int64_t size, std::int64_t ranks) {
    bool const whole = kernels::vocabulary_blocks(size) >= ranks;
    BlockSplit const split(size, whole ? kernels::vocabulary_block : 1, ranks);
    std::vector<Range> parts;
    for (std::int64_t rank = 0; rank < ranks; ++rank) parts.push_back(split.part(rank));
    return parts;
}

Vocabulary::Vocabulary(Communicator& axis, std::vector<Range> const& parts, Arena* arena) : size_(0) {
    SELVAGE_CHECK(static_cast<int>(parts.size()) == axis.size(), "{} parts for {} ranks", parts.size(), axis.size());
    for (Range const& part : parts) {
        SELVAGE_CHECK(part.begin == size_ && part.size() > 0, "ids {} .. {} behind {}", part.begin, part.end, size_);
        size_ = part.end;
    }
    part_ = parts[static_cast<std::size_t>(axis.rank())];
    if (parts.size() > 1) shards_ = std::make_unique<Shards>(axis, parts, arena);
}
Vocabulary::Vocabulary(Vocabulary&&) noexcept = default;
Vocabulary& Vocabulary::operator=(Vocabulary&&) noexcept = default;
Vocabulary::~Vocabulary() = default;

void Vocabulary::check(TensorView logits, std::int64_t outputs) const {
    SELVAGE_CHECK(logits.rank() == 2 && logits.dim(1) == part_.size() && logits.dim(0) == outputs,
                  "logits of shape {} for {} rows of {} ids", logits.shape().text(), outputs, part_.size());
}

void Vocabulary::check_targets(TensorView targets) const {
    if (targets.device() != DeviceKind::cpu) return;  // not worth a look: the caller knows them
    for (std::int64_t i = 0; i < targets.elements(); ++i) {
        std::int32_t const target = targets.as<std::int32_t>()[i];
        SELVAGE_CHECK(0 <= target && target < size_, "target {} in a vocabulary of {}", target, size_);
    }
}

void Vocabulary::log_sum_exp(TensorView log_sum_exp, TensorView logits, Stream& stream) {
    if (!shards_) return kernels::log_sum_exp(log_sum_exp, logits, stream);
    check(logits, log_sum_exp.elements());
    shards_->log_sum_exp(log_sum_exp, logits, stream);
}

void Vocabulary::target_log_probability(TensorView out, TensorView logits, TensorView log_sum_exp, TensorView targets,
                                        Stream& stream) {
    if (!shards_) return kernels::target_log_probability(out, logits, log_sum_exp, targets, stream);
    check(logits, targets.elements());
    check_targets(targets);
    shards_->target_log_probability(out, logits, log_sum_exp, targets, stream);
}

void Vocabulary::cross_entropy_backward(TensorView d_logits, TensorView logits, TensorView log_sum_exp,
                                        TensorView targets, TensorView weight, Stream& stream) {
    if (!shards_) return kernels::cross_entropy_backward(d_logits, logits, log_sum_exp, targets, weight, stream);
    check(logits, targets.elements());
    check_targets(targets);
    kernels::shard_cross_entropy_backward(d_logits, logits, log_sum_exp, targets, weight, part_.begin, stream);
}

void Vocabulary::argmax(TensorView out, TensorView logits, std::int64_t ids, Stream& stream) {
    if (!shards_) return kernels::argmax(out, logits, ids, stream);
    check(logits, out.elements());
    SELVAGE_CHECK(0 < ids && ids <= size_, "{} ids of a vocabulary of {}", ids, size_);
    shards_->argmax(out, logits, ids, stream);
}

void Vocabulary::sample(TensorView tokens, TensorView log_probability, TensorView log_sum_exp, TensorView logits,
                        std::int64_t ids, std::span<kernels::Sampling const> rows, Stream& stream) {
    if (!shards_) return kernels::sample(tokens, log_probability, log_sum_exp, logits, ids, rows, stream);
    check(logits, static_cast<std::int64_t>(rows.size()));
    SELVAGE_CHECK(tokens.elements() == logits.dim(0) && log_probability.elements() == logits.dim(0),
                  "{} rows of logits, {} tokens", logits.dim(0), tokens.elements());
    SELVAGE_CHECK(0 < ids && ids <= size_ && size_ <= (std::int64_t{1} << 22), "{} ids of a vocabulary of {}", ids,
                  size_);
    bool const drawn = shards_->sample(tokens, log_probability, log_sum_exp, logits, ids, rows, stream);
    SELVAGE_CHECK(drawn, "no token has any weight");
}

}  // namespace selvage
