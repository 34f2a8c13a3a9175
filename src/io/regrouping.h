// SPDX-License-Identifier: Apache-2.0
#pragma once
// Private to io: from the optimizer's shards, over the data and the tensor axis, to rows of whole parameters.
#include <vector>

#include "comm/communicator.h"
#include "io/files.h"
#include "tensor/host_copy.h"

namespace selvage::io {

// What a rank has of the sharded vectors: elements of the flat vector of its rank of the tensor axis.
struct HeldShard {
    Range elements;
    std::int64_t tensor_rank = 0;
};

class Regrouping {
  public:
    // Collective over `all`. held: of this rank; over the ranks of one tensor rank they must make up the flat vector.
    Regrouping(Communicator& all, std::vector<int> const& writers, ParameterSet const& parameters, HeldShard held);

    // Elements wanted[w] of a parameter, counted in the whole one, at writer w. Returns those of this rank, if it
    // writes, until the next call. `mine`: this rank's elements. Collective.
    std::span<float const> bring(FloatReader& mine, Parameter const& parameter, std::vector<Range> const& wanted);

  private:
    // Puts what rank r sent, `from`, where it belongs among the elements `here`.
    void place(std::size_t rank, Parameter const& parameter, Range here, float const* from);
    // Of the flat vector of `rank`'s tensor rank: what it sends of these elements of a parameter.
    Range sent_by(std::size_t rank, Parameter const& parameter, Range wanted) const;

    Communicator& all_;
    std::vector<int> const& writers_;
    std::vector<HeldShard> held_;  // by rank
    // Kept from call to call: a page of memory costs as much as to write it.
    std::vector<float> send_, received_, out_;
};

}  // namespace selvage::io
