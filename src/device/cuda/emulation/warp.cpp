// SPDX-License-Identifier: Apache-2.0
// What the lanes of a warp do together. The last lane to come computes the results of all.
#include "device/cuda/emulation/instructions.h"

#include "base/error.h"

namespace selvage::emulation {
namespace {

constexpr unsigned lanes = 32;
constexpr unsigned all_lanes = 0xffffffffU;

unsigned lane_of_caller() {
    Place const& place = *here;
    unsigned const index = place.thread.x + place.block_size.x * (place.thread.y + place.block_size.y * place.thread.z);
    return index % lanes;
}

// The lane that the caller reads from; outside its segment of the warp that is the caller itself.
unsigned source_lane(Shuffle kind, int operand, int width) {
    int const lane = static_cast<int>(lane_of_caller());
    int const begin = lane / width * width;
    int source = lane;
    switch (kind) {
        case Shuffle::direct:
            source = begin + (operand & (width - 1));
            break;
        case Shuffle::up:
            source = lane - operand;
            break;
        case Shuffle::down:
            source = lane + operand;
            break;
        case Shuffle::exclusive_or:
            source = lane ^ operand;
            break;
    }
    // An exclusive or may reach into earlier segments of the warp, not into later ones.
    bool const inside = source < begin + width && (source >= begin || (kind == Shuffle::exclusive_or && source >= 0));
    return static_cast<unsigned>(inside ? source : lane);
}

void complete_shuffle(WarpCall* const* calls) {
    for (unsigned lane = 0; lane < lanes; ++lane) {
        if (calls[lane] == nullptr) continue;
        WarpCall const* const from = calls[calls[lane]->argument];
        if (from == nullptr)
            fail(ExitCode::internal, "{} ({}:{}): lane {} reads from lane {}, which the mask {:#x} does not name",
                 calls[lane]->name, calls[lane]->file, calls[lane]->line, lane, calls[lane]->argument,
                 calls[lane]->mask);
        *static_cast<std::uint64_t*>(calls[lane]->out) = *static_cast<std::uint64_t const*>(from->in);
    }
}

void complete_ballot(WarpCall* const* calls) {
    unsigned votes = 0;
    for (unsigned lane = 0; lane < lanes; ++lane)
        if (calls[lane] != nullptr && calls[lane]->argument != 0) votes |= 1U << lane;
    for (unsigned lane = 0; lane < lanes; ++lane)
        if (calls[lane] != nullptr) *static_cast<unsigned*>(calls[lane]->out) = votes;
}

struct Fragments {
    std::uint32_t const* a;
    std::uint32_t const* b;
};

float element(std::uint32_t two, unsigned which) {
    return std::bit_cast<float>(which == 0 ? two << 16 : two & 0xffff0000U);
}

void complete_product(WarpCall* const* calls) {
    auto const in = [&](unsigned lane) -> Fragments const& { return *static_cast<Fragments const*>(calls[lane]->in); };
    auto const a = [&](unsigned row, unsigned k) {
        return element(in(row % 8 * 4 + k % 8 / 2).a[row / 8 + k / 8 * 2], k % 2);
    };
    auto const b = [&](unsigned k, unsigned column) { return element(in(column * 4 + k % 8 / 2).b[k / 8], k % 2); };
    for (unsigned lane = 0; lane < lanes; ++lane)
        for (unsigned i = 0; i < 4; ++i) {
            unsigned const row = lane / 4 + i / 2 * 8;
            unsigned const column = lane % 4 * 2 + i % 2;
            float& d = static_cast<float*>(calls[lane]->out)[i];
            double sum = d;
            for (unsigned k = 0; k < 16; ++k) sum += static_cast<double>(a(row, k)) * b(k, column);
            d = static_cast<float>(sum);
        }
}

template <bool transposed>
void complete_load(WarpCall* const* calls) {
    for (unsigned lane = 0; lane < lanes; ++lane)
        for (unsigned i = 0; i < 4; ++i) {
            auto const at = [&](unsigned row, unsigned column) -> std::uint32_t {
                return static_cast<std::uint16_t const*>(calls[i * 8 + row]->in)[column];
            };
            unsigned const major = lane / 4;
            unsigned const minor = lane % 4 * 2;
            std::uint32_t const low = transposed ? at(minor, major) : at(major, minor);
            std::uint32_t const high = transposed ? at(minor + 1, major) : at(major, minor + 1);
            static_cast<std::uint32_t*>(calls[lane]->out)[i] = low | high << 16;
        }
}

}  // namespace

std::uint64_t shuffle(Shuffle kind, unsigned mask, std::uint64_t bits, int operand, int width, char const* file,
                      int line) {
    static constexpr char const* names[] = {"__shfl_sync", "__shfl_up_sync", "__shfl_down_sync", "__shfl_xor_sync"};
    if (width < 1 || width > 32 || (width & (width - 1)) != 0)
        fail(ExitCode::internal, "{} ({}:{}): a width of {}", names[static_cast<int>(kind)], file, line, width);
    std::uint64_t result = 0;
    WarpCall call{names[static_cast<int>(kind)],
                  mask,
                  file,
                  line,
                  &bits,
                  &result,
                  source_lane(kind, operand, width),
                  complete_shuffle};
    meet(call, MemoryOrder::none);
    return result;
}

unsigned ballot(char const* name, unsigned mask, bool predicate, char const* file, int line) {
    unsigned result = 0;
    WarpCall call{name, mask, file, line, nullptr, &result, predicate ? 1U : 0U, complete_ballot};
    meet(call, MemoryOrder::none);
    return result;
}

void synchronize_warp(unsigned mask, char const* file, int line) {
    WarpCall call{"__syncwarp", mask, file, line, nullptr, nullptr, 0, [](WarpCall* const*) {}};
    meet(call, MemoryOrder::acquire_release);
}

void multiply_16x8x16(float* d, std::uint32_t const* a, std::uint32_t const* b, char const* file, int line) {
    Fragments const in{a, b};
    WarpCall call{"mma_m16n8k16", all_lanes, file, line, &in, d, 0, complete_product};
    meet(call, MemoryOrder::none);
}

void load_matrices(std::uint32_t* registers, uint4 const* row, bool transposed, char const* file, int line) {
    WarpCall call{"load_matrices",
                  all_lanes,
                  file,
                  line,
                  row,
                  registers,
                  0,
                  transposed ? complete_load<true> : complete_load<false>};
    meet(call, MemoryOrder::none);
}

}  // namespace selvage::emulation
