// SPDX-License-Identifier: Apache-2.0
#pragma once
// The main of a fuzz program: PROGRAM --seconds S --seed N [--case K]. Cases run in a child process; where one ends it
// by a signal, by a sanitizer, by hanging (10 s), or by an exception other than Error(bad_data), the input is saved and
// the program fails.
#include <functional>
#include <string>
#include <string_view>

#include "fuzz/mutate.h"

namespace selvage::fuzz {

// What is tried: throws Error(bad_data) where the input is refused, anything else is a finding.
using Target = std::function<void(std::string const& input)>;

// `make_target` is called in the child.
int run(int argc, char** argv, std::string const& name, Corpus const& corpus,
        std::function<Target()> const& make_target);

// For properties of accepted inputs.
void require(bool condition, char const* what);

}  // namespace selvage::fuzz
