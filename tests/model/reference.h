// SPDX-License-Identifier: Apache-2.0
#pragma once
// The files of tests/reference/model.py.
#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "model/model_config.h"

namespace selvage::test {

struct ReferenceTensor {
    std::int32_t type = 0;  // 0 float, 1 double, 2 int32, 3 bytes
    std::vector<std::int64_t> dims;
    std::string bytes;
    template <class T>
    std::vector<T> values() const {
        std::vector<T> out(bytes.size() / sizeof(T));
        std::copy_n(bytes.data(), out.size() * sizeof(T), reinterpret_cast<char*>(out.data()));
        return out;
    }
};

using ReferenceFile = std::map<std::string, ReferenceTensor>;

ReferenceFile read_reference(std::filesystem::path const& path);
ModelConfig config_of(ReferenceFile const& file);

}  // namespace selvage::test
