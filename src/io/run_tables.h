// SPDX-License-Identifier: Apache-2.0
#pragma once
// Private to io: the tables of run.h5 to the file. load_run() of contents.h is the way back.
#include "io/contents.h"

namespace selvage::io {

void write_run(Path const& path, std::string const& deck, RunTables const& tables);

}  // namespace selvage::io
