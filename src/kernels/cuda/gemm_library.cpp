// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/gemm_library.h"

#ifdef SELVAGE_CUDA
#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <bit>
#include <compare>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "device/cuda/check.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/recording.h"

namespace selvage::kernels::cuda {
namespace {

constexpr std::size_t workspace_bytes = std::size_t{32} << 20;  // what NVIDIA advises for Hopper
constexpr std::uint32_t alignment = 16;                         // of all operands
constexpr int most_candidates = 16;
// The products on random numbers that algorithms are compared by have up to so many rows and columns.
constexpr std::int64_t probe_rows = 1000, probe_columns = 8192;
constexpr std::int64_t compared_rows[] = {1, 3, 8, 64, probe_rows};

void check(cublasStatus_t status, char const* call) {
    if (status != CUBLAS_STATUS_SUCCESS)
        fail(ExitCode::system, "{} failed ({})", call, cublasLtGetStatusString(status));
}

// Makes an object of the library's and destroys it in the end.
template <class T, auto destroy>
struct Destroy {
    void operator()(T* object) const { destroy(object); }
};
template <class T, auto destroy>
using Handle = std::unique_ptr<T, Destroy<T, destroy>>;
using Context = Handle<std::remove_pointer_t<cublasLtHandle_t>, cublasLtDestroy>;
using Preference = Handle<std::remove_pointer_t<cublasLtMatmulPreference_t>, cublasLtMatmulPreferenceDestroy>;
using Description = Handle<std::remove_pointer_t<cublasLtMatmulDesc_t>, cublasLtMatmulDescDestroy>;
using Layout = Handle<std::remove_pointer_t<cublasLtMatrixLayout_t>, cublasLtMatrixLayoutDestroy>;

struct Release {
    void operator()(void* memory) const { cudaFree(memory); }
};
using DeviceMemory = std::unique_ptr<void, Release>;
DeviceMemory device_memory(std::size_t bytes) {
    void* memory = nullptr;
    SELVAGE_CUDA_CHECK(cudaMalloc(&memory, bytes));
    return DeviceMemory(memory);
}

// What products of one weight have in common. For gradients of weights, whose sums go over rows, k is those.
struct Kind {
    bool a_transposed, b_transposed, bias;
    DType out;
    std::int64_t n, k;
    auto operator<=>(Kind const&) const = default;
};

struct Pointers {
    void* c;
    void const *a, *b;
    void const* bias;  // of c's type; null: none
    bool add;
};

Layout matrix(cudaDataType type, std::int64_t rows, std::int64_t columns) {
    cublasLtMatrixLayout_t layout = nullptr;
    check(cublasLtMatrixLayoutCreate(&layout, type, static_cast<std::uint64_t>(rows),
                                     static_cast<std::uint64_t>(columns), rows),
          "cublasLtMatrixLayoutCreate");
    return Layout(layout);
}

// A product of m rows as the library sees it. It takes matrices column by column, and ours, row by row, are their
// transposes to it: its first operand is b, the second a, and its product has n rows and m columns.
class Product {
  public:
    Product(Kind const& kind, std::int64_t m)
        : b_(kind.b_transposed ? matrix(CUDA_R_16BF, kind.k, kind.n) : matrix(CUDA_R_16BF, kind.n, kind.k)),
          a_(kind.a_transposed ? matrix(CUDA_R_16BF, m, kind.k) : matrix(CUDA_R_16BF, kind.k, m)),
          c_(matrix(type_of(kind.out), kind.n, m)) {
        cublasLtMatmulDesc_t description = nullptr;
        check(cublasLtMatmulDescCreate(&description, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
        description_.reset(description);
        set(CUBLASLT_MATMUL_DESC_TRANSA, kind.b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
        set(CUBLASLT_MATMUL_DESC_TRANSB, kind.a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
        if (!kind.bias) return;
        set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
        set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type_of(kind.out));
        set_bias(reinterpret_cast<void const*>(std::uintptr_t{alignment}));  // for those that look at alignments
    }

    // The library's suggestions, the one that it takes for the fastest first.
    std::vector<cublasLtMatmulAlgo_t> suggestions(cublasLtHandle_t context, cublasLtMatmulPreference_t preference) {
        cublasLtMatmulHeuristicResult_t results[most_candidates];
        int count = 0;
        cublasStatus_t const status =
            cublasLtMatmulAlgoGetHeuristic(context, description_.get(), b_.get(), a_.get(), c_.get(), c_.get(),
                                           preference, most_candidates, results, &count);
        if (status != CUBLAS_STATUS_NOT_SUPPORTED) check(status, "cublasLtMatmulAlgoGetHeuristic");
        std::vector<cublasLtMatmulAlgo_t> algorithms;
        for (int i = 0; i < count; ++i)
            if (results[i].state == CUBLAS_STATUS_SUCCESS) algorithms.push_back(results[i].algo);
        return algorithms;
    }

    bool supports(cublasLtHandle_t context, cublasLtMatmulAlgo_t const& algorithm) const {
        cublasLtMatmulHeuristicResult_t result{};
        return cublasLtMatmulAlgoCheck(context, description_.get(), b_.get(), a_.get(), c_.get(), c_.get(), &algorithm,
                                       &result) == CUBLAS_STATUS_SUCCESS &&
               result.workspaceSize <= workspace_bytes;
    }

    cublasStatus_t run(cublasLtHandle_t context, cublasLtMatmulAlgo_t const& algorithm, Pointers const& p,
                       void* workspace, Stream& stream) {
        if (p.bias != nullptr) set_bias(p.bias);
        float const one = 1, old = p.add ? 1 : 0;
        return cublasLtMatmul(context, description_.get(), &one, p.b, b_.get(), p.a, a_.get(), &old, p.c, c_.get(), p.c,
                              c_.get(), &algorithm, workspace, workspace_bytes,
                              static_cast<cudaStream_t>(stream.native()));
    }

  private:
    static cudaDataType type_of(DType dtype) { return dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F; }
    template <class T>
    void set(cublasLtMatmulDescAttributes_t attribute, T const& value) {
        check(cublasLtMatmulDescSetAttribute(description_.get(), attribute, &value, sizeof value),
              "cublasLtMatmulDescSetAttribute");
    }
    void set_bias(void const* bias) { set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias); }

    Description description_;
    Layout b_, a_, c_;
};

// Random operands of a kind with up to probe_rows rows and probe_columns columns.
class Probe {
  public:
    Probe(Kind const& kind, cublasLtHandle_t context, void* workspace, Stream& stream)
        : kind_(kind), context_(context), workspace_(workspace), stream_(stream) {
        kind_.n = std::min(kind.n, probe_columns);
        a_ = random_numbers(probe_rows * kind.k);
        b_ = random_numbers(std::max(kind_.n * kind.k, 2 * kind_.n));  // the first ones are the bias too
        c_ = device_memory(bytes(probe_rows));
    }
    // The bits of the product of the first m rows; empty where the algorithm fails.
    std::vector<std::byte> product(cublasLtMatmulAlgo_t const& algorithm, std::int64_t m) {
        Product product(kind_, m);
        Pointers const pointers{c_.get(), a_.get(), b_.get(), kind_.bias ? b_.get() : nullptr, false};
        if (!product.supports(context_, algorithm)) return {};
        if (product.run(context_, algorithm, pointers, workspace_, stream_) != CUBLAS_STATUS_SUCCESS) return {};
        return result(m);
    }
    std::vector<std::byte> product_by_own_kernel(std::int64_t m) {
        auto const view = [](DeviceMemory const& memory, DType dtype, Shape shape) {
            return TensorView(memory.get(), dtype, shape, DeviceKind::cuda);
        };
        if (kind_.bias && kind_.out == DType::bf16) return {};  // its biases are fp32, the library's are rounded
        MatrixProduct const product{.c = view(c_, kind_.out, {m, kind_.n}),
                                    .a = view(a_, DType::bf16, {m, kind_.k}),
                                    .b = view(b_, DType::bf16, {kind_.n, kind_.k}),
                                    .bias = kind_.bias ? view(b_, DType::f32, {kind_.n}) : TensorView{},
                                    .m = m,
                                    .n = kind_.n,
                                    .k = kind_.k,
                                    .b_transposed = kind_.b_transposed};
        multiply_bf16(product, choose_tile(m, kind_.n), stream_);
        return result(m);
    }
    // Whether the first rows do not depend on the number of rows.
    bool rows_stay(cublasLtMatmulAlgo_t const& algorithm) {
        std::vector<std::byte> const all = product(algorithm, probe_rows);
        return !all.empty() && std::all_of(std::begin(compared_rows), std::end(compared_rows), [&](std::int64_t m) {
            std::vector<std::byte> const part = product(algorithm, m);
            return !part.empty() && std::equal(part.begin(), part.end(), all.begin());
        });
    }

  private:
    std::size_t bytes(std::int64_t m) const { return static_cast<std::size_t>(m * kind_.n) * size_of(kind_.out); }
    std::vector<std::byte> result(std::int64_t m) {
        std::vector<std::byte> host(bytes(m));
        SELVAGE_CUDA_CHECK(cudaMemcpyAsync(host.data(), c_.get(), host.size(), cudaMemcpyDeviceToHost,
                                           static_cast<cudaStream_t>(stream_.native())));
        stream_.synchronize();
        return host;
    }
    // In [-1, 1), repeated after a prime number of them.
    DeviceMemory random_numbers(std::int64_t count) {
        std::vector<std::uint16_t> host(1048573);
        std::mt19937 random(1);
        for (std::uint16_t& x : host) {
            float const number = static_cast<float>(random() >> 8) * 0x1p-23F - 1.0F;
            x = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(number) >> 16);
        }
        auto const elements = static_cast<std::size_t>(count);
        DeviceMemory memory = device_memory(2 * elements);
        for (std::size_t done = 0; done < elements; done += host.size())
            SELVAGE_CUDA_CHECK(cudaMemcpy(static_cast<std::uint16_t*>(memory.get()) + done, host.data(),
                                          2 * std::min(host.size(), elements - done), cudaMemcpyHostToDevice));
        SELVAGE_CUDA_CHECK(cudaStreamSynchronize(nullptr));
        return memory;
    }

    Kind kind_;
    cublasLtHandle_t context_;
    void* workspace_;
    Stream& stream_;
    DeviceMemory a_, b_, c_;
};

// The algorithms that a kind may use.
struct Class {
    std::optional<cublasLtMatmulAlgo_t> reference;  // none: all goes by our own kernel
    bool own_kernel_agrees = false;
    std::map<std::uint64_t, cublasLtMatmulAlgo_t> chosen;  // by the power of two that the number of rows is within
};

struct Plan {
    Product product;
    std::optional<cublasLtMatmulAlgo_t> algorithm;  // none: our own kernel
};

class Library {
  public:
    Library() {
        cublasLtHandle_t context = nullptr;
        check(cublasLtCreate(&context), "cublasLtCreate");
        context_.reset(context);
        cublasLtMatmulPreference_t preference = nullptr;
        check(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
        preference_.reset(preference);
        prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes);
        for (auto const operand :
             {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
              CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
            prefer(operand, alignment);
        set_batch_invariant(true);
    }

    void set_batch_invariant(bool batch_invariant) {
        batch_invariant_ = batch_invariant;
        plans_.clear();
        classes_.clear();
        // Without a reduction no sum is split, neither by k nor otherwise. The others would add parts in c's type.
        std::uint32_t const schemes =
            batch_invariant ? CUBLASLT_REDUCTION_SCHEME_NONE : CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
        prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, schemes);
    }

    bool batch_invariant() const { return batch_invariant_; }

    bool multiply(MatrixProduct const& p, Stream& stream) {
        Kind const kind{p.a_transposed, p.b_transposed, !p.bias.empty(), p.c.dtype(), p.n, p.k};
        // The bias, rounded where c is, lies behind the workspace.
        std::size_t const bias_bytes = kind.bias && kind.out == DType::bf16 ? 2 * static_cast<std::size_t>(p.n) : 0;
        auto* const workspace = scratch<std::byte>(workspace_bytes + bias_bytes, stream);
        Plan& plan = plan_for(kind, p.m, workspace, stream);
        if (!plan.algorithm) return false;
        Pointers pointers{p.c.raw(), p.a.raw(), p.b.raw(), kind.bias ? p.bias.raw() : nullptr, p.add};
        if (bias_bytes > 0) {
            TensorView const rounded(workspace + workspace_bytes, DType::bf16, {p.n}, DeviceKind::cuda);
            operations().convert(rounded, p.bias, stream);
            pointers.bias = rounded.raw();
        }
        for (void const* const operand : {static_cast<void const*>(pointers.c), pointers.a, pointers.b})
            SELVAGE_CHECK(reinterpret_cast<std::uintptr_t>(operand) % alignment == 0, "an operand at {}", operand);
        check(plan.product.run(context_.get(), *plan.algorithm, pointers, workspace, stream), "cublasLtMatmul");
        return true;
    }

  private:
    template <class T>
    void prefer(cublasLtMatmulPreferenceAttributes_t attribute, T const& value) {
        check(cublasLtMatmulPreferenceSetAttribute(preference_.get(), attribute, &value, sizeof value),
              "cublasLtMatmulPreferenceSetAttribute");
    }
    std::vector<cublasLtMatmulAlgo_t> suggestions(Product& product) {
        return product.suggestions(context_.get(), preference_.get());
    }

    Plan& plan_for(Kind const& kind, std::int64_t m, void* workspace, Stream& stream) {
        auto const known = plans_.find({kind, m});
        if (known != plans_.end()) return known->second;
        Plan plan{Product(kind, m), {}};
        // Sums of weight gradients have the length of this call, so that one suggestion, always the first, will do.
        if (!batch_invariant_ || kind.a_transposed) {
            auto const all = suggestions(plan.product);
            if (!all.empty()) plan.algorithm = all.front();
        } else {
            plan.algorithm = of_class(kind, m, plan.product, workspace, stream);
        }
        return plans_.emplace(std::pair(kind, m), std::move(plan)).first->second;
    }

    std::optional<cublasLtMatmulAlgo_t> of_class(Kind const& kind, std::int64_t m, Product const& product,
                                                 void* workspace, Stream& stream) {
        auto known = classes_.find(kind);
        if (known == classes_.end()) known = classes_.emplace(kind, make_class(kind, workspace, stream)).first;
        Class& members = known->second;
        if (!members.reference) return {};
        std::uint64_t const rows = std::bit_ceil(static_cast<std::uint64_t>(m));
        auto chosen = members.chosen.find(rows);
        if (chosen == members.chosen.end())
            chosen = members.chosen.emplace(rows, fastest(kind, members, rows, workspace, stream)).first;
        if (product.supports(context_.get(), chosen->second)) return chosen->second;
        if (product.supports(context_.get(), *members.reference)) return members.reference;
        if (!members.own_kernel_agrees)
            fail(ExitCode::system,
                 "cuBLASLt has no product of {} rows by a [{}, {}] that agrees with other numbers of rows; set "
                 "precision.batch_invariant = false",
                 m, kind.k, kind.n);
        return {};
    }

    Class make_class(Kind const& kind, void* workspace, Stream& stream) {
        must_not_be_recorded(stream);
        Class members;
        Probe probe(kind, context_.get(), workspace, stream);
        Product product(kind, probe_rows);
        for (cublasLtMatmulAlgo_t const& algorithm : suggestions(product)) {
            if (!probe.rows_stay(algorithm)) continue;
            members.reference = algorithm;
            members.own_kernel_agrees = probe.product_by_own_kernel(probe_rows) == probe.product(algorithm, probe_rows);
            break;
        }
        return members;
    }

    // The first suggestion for so many rows that agrees with the reference in every bit; or the reference.
    cublasLtMatmulAlgo_t fastest(Kind const& kind, Class const& members, std::uint64_t rows, void* workspace,
                                 Stream& stream) {
        must_not_be_recorded(stream);
        Probe probe(kind, context_.get(), workspace, stream);
        auto const m = std::min(static_cast<std::int64_t>(rows), probe_rows);
        std::vector<std::byte> const wanted = probe.product(*members.reference, m);
        Product product(kind, static_cast<std::int64_t>(rows));
        if (wanted.empty()) return *members.reference;
        for (cublasLtMatmulAlgo_t const& algorithm : suggestions(product))
            if (probe.product(algorithm, m) == wanted && probe.rows_stay(algorithm)) return algorithm;
        return *members.reference;
    }

    Context context_;
    Preference preference_;
    bool batch_invariant_ = true;
    std::map<std::pair<Kind, std::int64_t>, Plan> plans_;
    std::map<Kind, Class> classes_;
};

Library& library() {
    static Library& the_one = *new Library;  // never destroyed: at exit CUDA may be gone before it
    return the_one;
}

}  // namespace

void set_batch_invariant(bool batch_invariant) { library().set_batch_invariant(batch_invariant); }
bool batch_invariant() { return library().batch_invariant(); }
std::string library_products() { return fmt::format("cuBLASLt {}'s first suggestions", cublasLtGetVersion()); }

bool library_product(MatrixProduct const& p, Stream& stream) {
    bool const whole_eighths = p.n % 8 == 0 && (p.a_transposed ? p.m : p.k) % 8 == 0;  // rows are aligned
    if (p.m == 0 || p.k == 0 || !whole_eighths) return false;
    return library().multiply(p, stream);
}

}  // namespace selvage::kernels::cuda
#else
namespace selvage::kernels::cuda {

void set_batch_invariant(bool) {}
bool batch_invariant() { return true; }
std::string library_products() { return "own kernels"; }
bool library_product(MatrixProduct const&, Stream&) { return false; }

}  // namespace selvage::kernels::cuda
#endif
