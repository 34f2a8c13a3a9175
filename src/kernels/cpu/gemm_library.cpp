// SPDX-License-Identifier: Apache-2.0
// The only file that names oneDNN; compiles with 2.6 and 3.x.
#include <omp.h>

#include <algorithm>
#include <compare>
#include <exception>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include <oneapi/dnnl/dnnl.hpp>

#include "kernels/cpu/gemm_ways.h"
#include "kernels/cpu/table.h"

namespace selvage::kernels {
namespace {

using dnnl::memory;

// Row counts are fixed per primitive: with a row count given at run time the library takes another, order-changing way.
struct Key {
    std::int64_t m;
    std::int64_t n;
    std::int64_t k;
    int threads;
    auto operator<=>(Key const&) const = default;
};

struct Prepared {
    dnnl::matmul primitive;
    memory a;
    memory b;
    memory c;
    std::size_t scratch_bytes = 0;
    std::string implementation;
};

dnnl::matmul::primitive_desc describe(dnnl::engine const& engine, memory::desc const& a, memory::desc const& b,
                                      memory::desc const& c, dnnl::primitive_attr const& attributes) {
#if DNNL_VERSION_MAJOR >= 3
    return dnnl::matmul::primitive_desc(engine, a, b, c, attributes);
#else
    return dnnl::matmul::primitive_desc(dnnl::matmul::desc(a, b, c), attributes, engine);
#endif
}

// Used by the main thread only, as all kernels.
class Library {
  public:
    static Library& instance() {
        static Library library;
        return library;
    }

    // Null where the library has no suitable implementation.
    Prepared* prepare(Key const& key) {
        auto found = prepared_.find(key);
        if (found == prepared_.end()) {
            if (prepared_.size() >= most_prepared) prepared_.clear();
            found = prepared_.emplace(key, make(key)).first;
        }
        return found->second ? &*found->second : nullptr;
    }

    void run(Prepared& prepared, float const* a, float const* b, float* c) {
        if (scratch_.size() < prepared.scratch_bytes) scratch_.resize(prepared.scratch_bytes);
        prepared.a.set_data_handle(const_cast<float*>(a));
        prepared.b.set_data_handle(const_cast<float*>(b));
        prepared.c.set_data_handle(c);
        memory::desc const scratch_desc({static_cast<memory::dim>(prepared.scratch_bytes)}, memory::data_type::u8,
                                        memory::format_tag::a);
        memory const scratch(scratch_desc, engine_, scratch_.data());
        prepared.primitive.execute(stream_, {{DNNL_ARG_SRC, prepared.a},
                                             {DNNL_ARG_WEIGHTS, prepared.b},
                                             {DNNL_ARG_DST, prepared.c},
                                             {DNNL_ARG_SCRATCHPAD, scratch}});
        stream_.wait();
    }

  private:
    static constexpr std::size_t most_prepared = 2048;

    std::optional<Prepared> make(Key const& key) const {
        auto const f32 = memory::data_type::f32;
        using tag = memory::format_tag;
        memory::desc const a({key.m, key.k}, f32, tag::ab);
        memory::desc const b({key.k, key.n}, f32, tag::BA16a64b);
        memory::desc const c({key.m, key.n}, f32, tag::ab);
        dnnl::primitive_attr attributes;
        attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
        try {
            auto const description = describe(engine_, a, b, c, attributes);
            std::string const implementation = description.impl_info_str();
            // Others keep other orders.
            if (!implementation.starts_with("brg")) return std::nullopt;
            return Prepared{.primitive = dnnl::matmul(description),
                            .a = memory(a, engine_, nullptr),
                            .b = memory(b, engine_, nullptr),
                            .c = memory(c, engine_, nullptr),
                            .scratch_bytes = description.scratchpad_desc().get_size(),
                            .implementation = implementation};
        } catch (dnnl::error const&) {
            return std::nullopt;  // the library has no such product
        }
    }

    dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
    dnnl::stream stream_{engine_};
    std::map<Key, std::optional<Prepared>> prepared_;
    std::vector<unsigned char> scratch_;
};

}  // namespace

bool library_product(MatrixProduct const& x) {
    if (x.panels == nullptr || x.a_transposed || x.add || kernel_table().panel != 64) return false;
    Library& library = Library::instance();
    Prepared* const prepared = library.prepare({x.m, x.n, x.k, omp_get_max_threads()});
    if (prepared == nullptr) return false;
    library.run(*prepared, x.a, x.panels, x.c);
    return true;
}

std::string library_name() {
    dnnl_version_t const& version = *dnnl_version();
    return "oneDNN " + std::to_string(version.major) + "." + std::to_string(version.minor) + "." +
           std::to_string(version.patch);
}

std::string library_implementation() {
    Prepared const* const prepared = Library::instance().prepare({64, 64, 64, omp_get_max_threads()});
    return prepared == nullptr ? "" : prepared->implementation;
}

}  // namespace selvage::kernels
