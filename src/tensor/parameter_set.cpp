// SPDX-License-Identifier: Apache-2.0
#include "tensor/parameter_set.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>
#include <thread>
#include <utility>

#include "base/philox.h"
#include "tensor/host_copy.h"

namespace selvage {
namespace {

constexpr std::int64_t alignment = 64;
constexpr std::int64_t initial_piece = std::int64_t{1} << 22;  // elements drawn at a time

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

// Box-Muller on two 32-bit words: one normal number per element.
float normal(PhiloxCounter const& words) {
    double const u = (static_cast<double>(words[0]) + 1) * 0x1.0p-32;
    double const v = static_cast<double>(words[1]) * 0x1.0p-32;
    return static_cast<float>(std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v));
}

// run(element of the whole, index in the part from part.begin, count) for what is in one piece.
template <class Run>
void over_runs(Placement const& place, Range part, Run const& run) {
    for (std::int64_t i = part.begin; i < part.end;) {
        std::int64_t const column = i % place.columns;
        std::int64_t const count = std::min(part.end - i, place.columns - column);
        run(place.first + i / place.columns * place.stride + column, i - part.begin, count);
        i += count;
    }
}

// Of these elements of a part.
void draw_normal(float* values, Placement const& place, Range part, Random const& random, float deviation) {
    over_runs(place, part, [&](std::int64_t element, std::int64_t index, std::int64_t count) {
        for (std::int64_t i = 0; i < count; ++i) {
            auto const at = static_cast<std::uint64_t>(element + i);
            values[index + i] =
                deviation *
                normal(random.words({static_cast<std::uint32_t>(at >> 32), static_cast<std::uint32_t>(at)}));
        }
    });
}

// A bijection that spreads every bit (Steele et al. 2014, with Stafford's constants).
std::uint64_t mixed(std::uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31);
}

// Cuts `all` in as many parts as there are threads; few elements are for one.
template <class Run>
void in_threads(Range all, std::int64_t threads, Run const& run) {
    constexpr std::int64_t worth_a_thread = 4096;
    EvenSplit const split(all.size(),
                          std::clamp<std::int64_t>(all.size() / worth_a_thread, 1, std::max<std::int64_t>(threads, 1)));
    auto const part = [&](std::int64_t p) {
        Range const r = split.part(p);
        return Range{all.begin + r.begin, all.begin + r.end};
    };
    std::vector<std::jthread> others;
    for (std::int64_t p = 1; p < split.parts(); ++p) others.emplace_back([&run, r = part(p)] { run(r); });
    run(part(0));
}

}  // namespace

int first_holder(Cut const& cut, int rank) {
    int first = rank;
    while (first > 0 && cut.same(first - 1, rank)) --first;
    return first;
}

Range held_among(Placement const& place, Range elements) {
    if (place.rows == 1) {
        Range const held = elements.intersect({place.first, place.first + place.columns});
        return {held.begin - place.first, held.end - place.first};
    }
    SELVAGE_CHECK(elements.begin % place.stride == 0 && elements.end % place.stride == 0, "elements {} to {} of {}",
                  elements.begin, elements.end, place.stride);
    return {elements.begin / place.stride * place.columns, elements.end / place.stride * place.columns};
}

void copy_to_whole(float* whole, std::int64_t begin, Placement const& place, Range part, float const* values) {
    over_runs(place, part, [&](std::int64_t element, std::int64_t index, std::int64_t count) {
        std::copy_n(values + index, count, whole + (element - begin));
    });
}

void copy_from_whole(float* values, Placement const& place, Range part, float const* whole, std::int64_t begin) {
    over_runs(place, part, [&](std::int64_t element, std::int64_t index, std::int64_t count) {
        std::copy_n(whole + (element - begin), count, values + index);
    });
}

Placement placement_on(ParameterSpec const& spec, int rank) {
    Placement place;
    place.columns = place.stride = spec.shape.elements();
    if (spec.cut.dim < 0) return place;
    Range const part = spec.cut.parts[static_cast<std::size_t>(rank)];
    std::int64_t inner = 1;  // elements of one index of the dim that is cut
    for (int i = spec.cut.dim + 1; i < spec.shape.rank(); ++i) inner *= spec.shape[i];
    place.stride = spec.shape[spec.cut.dim] * inner;
    place.rows = spec.shape.elements() / std::max<std::int64_t>(place.stride, 1);
    place.columns = part.size() * inner;
    place.first = part.begin * inner;
    return place;
}

Shape shape_on(ParameterSpec const& spec, int rank) {
    if (spec.cut.dim < 0) return spec.shape;
    std::int64_t const held = spec.cut.parts[static_cast<std::size_t>(rank)].size();
    SELVAGE_CHECK(spec.cut.dim < spec.shape.rank() && spec.shape.rank() <= 2, "{} {} cut at dim {}", spec.name,
                  spec.shape.text(), spec.cut.dim);
    if (spec.shape.rank() == 1) return {held};
    return spec.cut.dim == 0 ? Shape{held, spec.shape[1]} : Shape{spec.shape[0], held};
}

ParameterSet::ParameterSet(Arena& arena, std::vector<ParameterSpec> specs, int rank, int ranks, int part, int parts)
    : device_(&arena.device()), rank_(rank), ranks_(ranks), parts_(parts) {
    for (ParameterSpec& spec : specs) {
        SELVAGE_CHECK(index_of(spec.name) < 0, "parameter {} twice", spec.name);
        SELVAGE_CHECK(spec.cut.dim < 0 || spec.cut.parts.size() == static_cast<std::size_t>(ranks),
                      "{} is cut for {} ranks of {}", spec.name, spec.cut.parts.size(), ranks);
        std::int64_t room = 0;
        for (int r = 0; r < ranks; ++r) room = std::max(room, shape_on(spec, r).elements());
        element_count_ += spec.shape.elements();
        Shape const shape = shape_on(spec, rank);
        parameters_.push_back({std::move(spec), flat_size_, shape});
        flat_size_ = round_up(flat_size_ + room, alignment);
    }
    flat_size_ = round_up(flat_size_, block_elements);
    held_ = shards(parts)[static_cast<std::size_t>(part)];
    values_ = Tensor(arena, "parameters", DType::f32, {held_.size()});
}

std::vector<Range> ParameterSet::shards(std::int64_t parts) const {
    BlockSplit const split(flat_size_, block_elements, parts);
    std::vector<Range> all;
    for (std::int64_t part = 0; part < parts; ++part) all.push_back(split.part(part));
    return all;
}

std::int64_t ParameterSet::index_of(std::string_view name) const {
    for (std::size_t i = 0; i < parameters_.size(); ++i)
        if (parameters_[i].spec.name == name) return static_cast<std::int64_t>(i);
    return -1;
}

Parameter const& ParameterSet::find(std::string_view name) const {
    std::int64_t const index = index_of(name);
    SELVAGE_CHECK(index >= 0, "no parameter {}", name);
    return parameters_[static_cast<std::size_t>(index)];
}

TensorView ParameterSet::slice(TensorView flat, Parameter const& parameter) {
    return flat.rows(parameter.offset, parameter.offset + parameter.shape.elements()).reshape(parameter.shape);
}

Checksum ParameterSet::checksum(Range elements) const {
    device_->synchronize();
    FloatReader reader(values_, *device_);
    Checksum sum;
    for (Parameter const& parameter : parameters_) {
        ParameterSpec const& spec = parameter.spec;
        if (first_holder(spec.cut, rank_) != rank_) continue;
        Placement const place = placement_on(spec, rank_);
        std::uint64_t const key = name_hash(spec.name.data(), spec.name.size());
        Range const here = elements.intersect({parameter.offset, parameter.offset + parameter.shape.elements()});
        for (std::int64_t begin = here.begin; begin < here.end; begin += initial_piece) {
            Range const piece{begin, std::min(begin + initial_piece, here.end)};
            std::span<float const> const values = reader.read({piece.begin - held_.begin, piece.end - held_.begin});
            Range const part{piece.begin - parameter.offset, piece.end - parameter.offset};
            over_runs(place, part, [&](std::int64_t element, std::int64_t index, std::int64_t count) {
                for (std::int64_t i = 0; i < count; ++i) {
                    auto const bits = std::bit_cast<std::uint32_t>(values[static_cast<std::size_t>(index + i)]);
                    std::uint64_t const low = mixed(mixed(key + static_cast<std::uint64_t>(element + i)) + bits);
                    sum += {low, mixed(low + key)};
                }
            });
        }
    }
    return sum;
}

void ParameterSet::initialise(std::uint64_t seed, std::int64_t threads) {
    device_->synchronize();
    FloatWriter writer(values_, *device_);
    for (Parameter const& parameter : parameters_) {
        ParameterSpec const& spec = parameter.spec;
        Range const here = held_.intersect({parameter.offset, parameter.offset + parameter.shape.elements()});
        Random const random(seed ^ name_hash(spec.name.data(), spec.name.size()), Purpose::initialise);
        Placement const place = placement_on(spec, rank_);
        for (std::int64_t begin = here.begin; begin < here.end; begin += initial_piece) {
            Range const piece{begin, std::min(begin + initial_piece, here.end)};
            writer.write({piece.begin - held_.begin, piece.end - held_.begin}, [&](float* values) {
                if (spec.init != InitKind::normal)
                    return void(std::fill_n(values, piece.size(), spec.init == InitKind::ones ? 1.0F : 0.0F));
                Range const held{piece.begin - parameter.offset, piece.end - parameter.offset};
                in_threads(held, threads, [&](Range part) {
                    draw_normal(values + (part.begin - held.begin), place, part, random, spec.deviation);
                });
            });
        }
    }
}

}  // namespace selvage
