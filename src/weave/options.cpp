// SPDX-License-Identifier: Apache-2.0
#include "weave/options.h"

#include <algorithm>

#include "base/error.h"

namespace selvage::weave {

WeaveMethod WeaveOptions::method_of(std::int64_t round) const {
    SELVAGE_CHECK(round >= 1 && !method.empty(), "round {} of {} methods", round, method.size());
    auto const last = static_cast<std::int64_t>(method.size()) - 1;
    return method[static_cast<std::size_t>(std::min(round - 1, last))];
}

}  // namespace selvage::weave
