// SPDX-License-Identifier: Apache-2.0
#pragma once
// Private to io: the datasets of every kind of file, in one table that writers, readers and check_file share.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace selvage::io {

constexpr std::int64_t format_version = 1;

enum class Element : std::uint8_t { u8, i32, i64, f32, f64, text };

template <class T>
struct ElementOf;
template <>
struct ElementOf<std::uint8_t> {
    static constexpr Element value = Element::u8;
};
template <>
struct ElementOf<std::int32_t> {
    static constexpr Element value = Element::i32;
};
template <>
struct ElementOf<std::int64_t> {
    static constexpr Element value = Element::i64;
};
template <>
struct ElementOf<float> {
    static constexpr Element value = Element::f32;
};
template <>
struct ElementOf<double> {
    static constexpr Element value = Element::f64;
};

std::size_t size_of(Element element);  // of one element; text: of one character
std::string_view name_of(Element element);

// The attributes of every dataset.
struct Notes {
    std::string description;
    std::string units;
    bool is_volatile = false;  // depends on the machine and the time, not on the run
};

struct Column {
    std::string name;
    Element element;
    Notes notes;
    int rank = 1;
    bool since_0_2 = false;  // files of earlier versions are without it
};

// The datasets that every file of this format has; those named by parameters, metrics or tables come beside them.
// Empty for a format that is not ours.
std::vector<Column> const& columns_of(std::string_view format);
// A column of that format; one that is not there is our own bug.
Column const& column_of(std::string_view format, std::string_view name);

// Datasets of run.h5 below /evaluations/<metric>/ and /evaluations/<metric>_by_position/.
std::vector<Column> const& metric_columns();
std::vector<Column> const& position_columns();

// What a model brings along from the folder that it was imported from; then groups whose datasets are parameters.
constexpr std::string_view folder_group = "/huggingface";
constexpr std::string_view folder_files_group = "/huggingface/files";
constexpr std::string_view folder_dtypes = "/huggingface/dtypes";
constexpr std::string_view parameters_group = "/parameters";
constexpr std::string_view first_moment_group = "/optimizer/first_moment";
constexpr std::string_view second_moment_group = "/optimizer/second_moment";
constexpr std::string_view master_group = "/optimizer/master";

}  // namespace selvage::io
