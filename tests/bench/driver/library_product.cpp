// SPDX-License-Identifier: Apache-2.0
#include "driver/library_product.h"

#include <omp.h>

#include <cstring>
#include <new>

namespace selvage::bench {
namespace {

using dnnl::memory;

dnnl::engine& engine() {
    static dnnl::engine one(dnnl::engine::kind::cpu, 0);
    return one;
}
dnnl::stream& stream() {
    static dnnl::stream one(engine());
    return one;
}

memory::data_type type_of(DType precision) {
    return precision == DType::bf16 ? memory::data_type::bf16 : memory::data_type::f32;
}

memory::format_tag tag_of(Layout layout) {
    if (layout == Layout::chosen) return memory::format_tag::any;
    return layout == Layout::plain ? memory::format_tag::ab : memory::format_tag::ba;
}

dnnl::matmul::primitive_desc describe(ProductShape shape, ProductForm form) {
    memory::desc const a({shape.m, shape.k}, type_of(form.precision), tag_of(form.a));
    memory::desc const b({shape.k, shape.n}, type_of(form.precision), tag_of(form.b));
    memory::desc const c({shape.m, shape.n}, form.f32_out ? memory::data_type::f32 : type_of(form.precision),
                         memory::format_tag::ab);
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
#if DNNL_VERSION_MAJOR >= 3
    return dnnl::matmul::primitive_desc(engine(), a, b, c, attributes);
#else
    return dnnl::matmul::primitive_desc(dnnl::matmul::desc(a, b, c), attributes, engine());
#endif
}

}  // namespace

LibraryProduct::Operand LibraryProduct::make(memory::desc const& description) {
    constexpr std::size_t alignment = 4096;
    constexpr std::uint16_t small = 0x3C01;  // as bf16, and twice as f32: 0.0079
    std::size_t const bytes = (description.get_size() / alignment + 1) * alignment;
    Operand operand;
    operand.block.reset(std::aligned_alloc(alignment, bytes));
    if (!operand.block) throw std::bad_alloc();
    auto* const values = static_cast<unsigned char*>(operand.block.get());
    for (std::size_t i = 0; i < bytes; i += sizeof small) std::memcpy(values + i, &small, sizeof small);
    operand.memory = memory(description, engine(), operand.block.get());
    return operand;
}

LibraryProduct::LibraryProduct(ProductShape shape, ProductForm form)
    : work_(2.0 * static_cast<double>(shape.m) * static_cast<double>(shape.n) * static_cast<double>(shape.k)) {
    auto const description = describe(shape, form);
    a_ = make(description.src_desc());
    b_ = make(description.weights_desc());
    c_ = make(description.dst_desc());
    scratch_ = make(description.scratchpad_desc());
    primitive_ = dnnl::matmul(description);
}

void LibraryProduct::run() {
    primitive_.execute(stream(), {{DNNL_ARG_SRC, a_.memory},
                                  {DNNL_ARG_WEIGHTS, b_.memory},
                                  {DNNL_ARG_DST, c_.memory},
                                  {DNNL_ARG_SCRATCHPAD, scratch_.memory}});
    stream().wait();
}

void set_product_threads(std::int64_t threads) { omp_set_num_threads(static_cast<int>(threads)); }

}  // namespace selvage::bench
