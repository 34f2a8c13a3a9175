// SPDX-License-Identifier: Apache-2.0
#pragma once
// Private to io: /huggingface of models and checkpoints.
#include "io/file_reader.h"
#include "io/file_writer.h"

namespace selvage::io {

void write_folder(FileWriter& file, FolderContents const& folder);
// Empty where the file has none.
FolderContents read_folder(FileReader const& file);
std::int64_t folder_bytes(FolderContents const& folder);
// Rank 0's, on all ranks. Collective.
FolderContents agreed_folder(Communicator& all, FolderContents folder);

}  // namespace selvage::io
