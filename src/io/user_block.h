// SPDX-License-Identifier: Apache-2.0
#pragma once
// Private to io: the 4096 bytes in front of the HDF5 content ("user block"), which hold a digest of everything behind
// them. Plain text, so that `head -c 300 FILE` says what the file is.
#include <cstdint>
#include <filesystem>
#include <string>

#include "base/digest.h"
#include "comm/communicator.h"
#include "io/posix_file.h"

namespace selvage::io {

constexpr std::int64_t user_block_bytes = 4096;
constexpr std::int64_t digest_block_bytes = std::int64_t{1} << 20;

struct UserBlock {
    std::string format;
    std::int64_t file_bytes = 0;
    Digest digest;  // of the list of the digests of the blocks
};

// The digest of the open file's bytes behind the user block. With a communicator its ranks share the work (collective;
// all have the file open and get the digest), else the caller does it alone. Error(io): cannot read.
Digest digest_of_blocks(PosixFile const& file, std::int64_t file_bytes, Communicator* ranks);

std::string make_user_block(UserBlock const& block);

enum class Checksums { verified, absent };

// Checks the file against its user block: Error(bad_data) where it is empty, truncated, damaged or not HDF5,
// missing_input where it is not there. Files of other programs have no checksums (absent). Collective with a
// communicator.
Checksums verify_checksums(std::filesystem::path const& path, Communicator* ranks);

}  // namespace selvage::io
