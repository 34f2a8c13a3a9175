// SPDX-License-Identifier: Apache-2.0
#pragma once
// Operation graphs of cuDNN by its backend interface, and plans for them. In builds with SELVAGE_CUDNN; private to this
// folder. The library is opened when first asked for, so that programs run where it is not installed.
#include <cudnn_graph.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace selvage::kernels::cuda::cudnn {

// The library lacks something, or a graph is not supported; what() is its own reason.
struct Refusal : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Throws Refusal unless `status` is success.
void check(cudnnStatus_t status, char const* call);

// What the backend interface calls by a type of C++.
template <class T>
struct TypeOf;
// clang-format off
template <> struct TypeOf<std::int64_t> { static constexpr auto value = CUDNN_TYPE_INT64; };
template <> struct TypeOf<bool> { static constexpr auto value = CUDNN_TYPE_BOOLEAN; };
template <> struct TypeOf<char> { static constexpr auto value = CUDNN_TYPE_CHAR; };
template <> struct TypeOf<void*> { static constexpr auto value = CUDNN_TYPE_VOID_PTR; };
template <> struct TypeOf<cudnnHandle_t> { static constexpr auto value = CUDNN_TYPE_HANDLE; };
template <> struct TypeOf<cudnnDataType_t> { static constexpr auto value = CUDNN_TYPE_DATA_TYPE; };
template <> struct TypeOf<cudnnPointwiseMode_t> { static constexpr auto value = CUDNN_TYPE_POINTWISE_MODE; };
template <> struct TypeOf<cudnnReduceTensorOp_t> { static constexpr auto value = CUDNN_TYPE_REDUCTION_OPERATOR_TYPE; };
template <> struct TypeOf<cudnnBackendHeurMode_t> { static constexpr auto value = CUDNN_TYPE_HEUR_MODE; };
// clang-format on

// Owns a descriptor of the backend's. All of it throws Refusal.
class Descriptor {
  public:
    explicit Descriptor(cudnnBackendDescriptorType_t type);
    cudnnBackendDescriptor_t get() const { return owned_.get(); }

    void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count,
             void const* values);
    template <class T>
    void set(cudnnBackendAttributeName_t name, T const& value) {
        set(name, TypeOf<T>::value, 1, &value);
    }
    void set(cudnnBackendAttributeName_t name, Descriptor const& value) {
        cudnnBackendDescriptor_t const raw = value.get();
        set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &raw);
    }
    template <class T>
    void set_all(cudnnBackendAttributeName_t name, std::span<T const> values) {
        set(name, TypeOf<T>::value, static_cast<std::int64_t>(values.size()), values.data());
    }
    std::int64_t number(cudnnBackendAttributeName_t name) const;
    void finalize(char const* what);

  private:
    struct Destroy {
        void operator()(void* descriptor) const;
    };
    std::unique_ptr<void, Destroy> owned_;
};

using Four = std::array<std::int64_t, 4>;  // batch, heads, rows, columns
Four packed(Four const& sizes);            // strides of a tensor without gaps

class Context;

// The GPU that plans are for: a context's, or one that is described in JSON, as
// CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION has it.
class Target {
  public:
    explicit Target(Context const& context);
    explicit Target(std::string const& described);
    cudnnHandle_t handle() const { return handle_; }  // null: described
    Descriptor const& described() const { return *descriptor_; }

  private:
    cudnnHandle_t handle_ = nullptr;
    std::optional<Descriptor> descriptor_;
};

// A graph's tensors by number, from 1 on; 0: none.
using Id = std::int64_t;

// Inner tensors are not in memory. Where there are `offsets`, a sequence's first element lies at its own place.
struct GraphTensor {
    cudnnDataType_t type;
    Four sizes, strides;
    Id offsets = 0;
    bool is_inner = false;
    std::optional<float> constant = {};  // a number of the host's
};

struct Operation {
    enum class Kind : std::uint8_t { pointwise, reduction, reshape, product, load_pages };
    Kind kind;
    Id y;  // the result
    Id x, b = 0, t = 0;
    Id m = 0, n = 0, k = 0;  // of products: lengths of each sequence
    cudnnPointwiseMode_t mode = CUDNN_POINTWISE_IDENTITY;
    cudnnDataType_t precision = CUDNN_DATA_FLOAT;
    std::optional<std::int64_t> axis = {};
    cudnnReduceTensorOp_t reduction = CUDNN_REDUCE_TENSOR_ADD;
};

// One way of the library's to run a graph.
struct Engine {
    Descriptor configuration;
    std::size_t workspace_bytes;
};

struct Plan {
    Descriptor plan;
    std::size_t workspace_bytes;
    std::vector<std::pair<Id, float>> constants;
};

// Operations in order. Tensors have fp32 elements and no gaps where nothing else is said; results are inner tensors
// unless one is given for them (`into`).
class Graph {
  public:
    Id add(GraphTensor const& tensor);
    Id tensor(cudnnDataType_t type, Four const& sizes) { return add({type, sizes, packed(sizes)}); }
    Id inner(cudnnDataType_t type, Four const& sizes) { return add({type, sizes, packed(sizes), 0, true}); }
    Id constant(float value) { return add({CUDNN_DATA_FLOAT, {1, 1, 1, 1}, {1, 1, 1, 1}, 0, false, value}); }

    // mode(x), mode(x, b) or mode(x, b, t)
    Id pointwise(cudnnPointwiseMode_t mode, Id x, Id b = 0, Id t = 0, Id into = 0);
    Id index(cudnnDataType_t precision, Id like, std::int64_t axis);  // int32: an element's place on an axis
    Id compare(cudnnPointwiseMode_t mode, Id a, Id b);                // boolean
    Id integers(cudnnPointwiseMode_t mode, Id a, Id b);               // int32
    // Over the dims, or parts of them, that x has more of than `into`.
    Id reduce(cudnnReduceTensorOp_t reduction, Id x, Id into);
    // Rows and columns change places.
    Id reshape(Id x, Id into);
    // into = a b; m, n, k: tensors with the lengths of each sequence, 0 for those that have none
    Id product(Id a, Id b, Id into, Id m, Id n, Id k);
    // What a page table finds in pages, up to the lengths of each sequence.
    Id load_pages(Id pages, Id lengths, Id table, Id into);

    GraphTensor const& operator[](Id id) const { return tensors_[static_cast<std::size_t>(id - 1)]; }
    std::vector<Operation> const& operations() const { return operations_; }

    // What the library suggests and supports, best first; throws Refusal where there is nothing.
    std::vector<Engine> engines(Target const& target) const;
    // Builds the first of them that needs no more working memory than `most_workspace`.
    Plan plan(Target const& target, std::size_t most_workspace) const;

  private:
    Id apply(Operation const& operation) {
        operations_.push_back(operation);
        return operation.y;
    }
    std::vector<GraphTensor> tensors_;
    std::vector<Operation> operations_;
};

// What an execution gives for a tensor: memory of the GPU's.
struct Binding {
    Id tensor;
    void* memory;
};

// The library's state for the GPU of the thread that makes it. One host thread at a time.
class Context {
  public:
    Context();
    cudnnHandle_t handle() const { return handle_.get(); }
    void run(Plan const& plan, std::span<Binding const> bindings, void* workspace, void* stream);
    void clear(void* memory, std::size_t bytes, void* stream);

  private:
    struct Destroy {
        void operator()(cudnnHandle_t handle) const;
    };
    std::unique_ptr<cudnnContext, Destroy> handle_;
};

// Empty, or why the library cannot be used.
std::string const& missing();
std::size_t version();

}  // namespace selvage::kernels::cuda::cudnn
