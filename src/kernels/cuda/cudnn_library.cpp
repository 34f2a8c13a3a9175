// SPDX-License-Identifier: Apache-2.0
// What cudnn_graph.h declares that needs the library.
#ifdef SELVAGE_CUDNN
#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include "base/error.h"
#include "device/cuda/check.h"
#include "kernels/cuda/cudnn_graph.h"

namespace selvage::kernels::cuda::cudnn {
namespace {

// The functions of the library that are used.
struct Library {
    std::string missing;
    decltype(&cudnnGetVersion) get_version = nullptr;
    decltype(&cudnnGetErrorString) error_string = nullptr;
    decltype(&cudnnGetLastErrorString) last_error = nullptr;
    decltype(&cudnnCreate) create = nullptr;
    decltype(&cudnnDestroy) destroy = nullptr;
    decltype(&cudnnSetStream) set_stream = nullptr;
    decltype(&cudnnBackendCreateDescriptor) create_descriptor = nullptr;
    decltype(&cudnnBackendDestroyDescriptor) destroy_descriptor = nullptr;
    decltype(&cudnnBackendFinalize) finalize = nullptr;
    decltype(&cudnnBackendSetAttribute) set_attribute = nullptr;
    decltype(&cudnnBackendGetAttribute) get_attribute = nullptr;
    decltype(&cudnnBackendExecute) execute = nullptr;

    Library() {
        std::string const name = fmt::format("libcudnn.so.{}", CUDNN_MAJOR);
        void* const opened = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (opened == nullptr) {
            missing = dlerror();
            return;
        }
        auto const find = [&](auto& function, char const* symbol) {
            function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(opened, symbol));
            if (function == nullptr && missing.empty()) missing = fmt::format("{} has no {}", name, symbol);
        };
        find(get_version, "cudnnGetVersion");
        find(error_string, "cudnnGetErrorString");
        find(last_error, "cudnnGetLastErrorString");
        find(create, "cudnnCreate");
        find(destroy, "cudnnDestroy");
        find(set_stream, "cudnnSetStream");
        find(create_descriptor, "cudnnBackendCreateDescriptor");
        find(destroy_descriptor, "cudnnBackendDestroyDescriptor");
        find(finalize, "cudnnBackendFinalize");
        find(set_attribute, "cudnnBackendSetAttribute");
        find(get_attribute, "cudnnBackendGetAttribute");
        find(execute, "cudnnBackendExecute");
    }
};

Library const& opened() {
    static Library const library;
    return library;
}

Library const& library() {
    Library const& found = opened();
    if (!found.missing.empty()) throw Refusal(found.missing);
    return found;
}

}  // namespace

std::string const& missing() { return opened().missing; }
std::size_t version() { return library().get_version(); }

void check(cudnnStatus_t status, char const* call) {
    if (status == CUDNN_STATUS_SUCCESS) return;
    std::array<char, 512> reason{};
    library().last_error(reason.data(), reason.size());
    throw Refusal(fmt::format("{}: {} {}", call, library().error_string(status), reason.data()));
}

void Descriptor::Destroy::operator()(void* descriptor) const { library().destroy_descriptor(descriptor); }

Descriptor::Descriptor(cudnnBackendDescriptorType_t type) {
    cudnnBackendDescriptor_t created = nullptr;
    check(library().create_descriptor(type, &created), "cudnnBackendCreateDescriptor");
    owned_.reset(created);
}

void Descriptor::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count,
                     void const* values) {
    cudnnStatus_t const status = library().set_attribute(get(), name, type, count, values);
    if (status != CUDNN_STATUS_SUCCESS)
        check(status, fmt::format("attribute {} of a descriptor", static_cast<int>(name)).c_str());
}

std::int64_t Descriptor::number(cudnnBackendAttributeName_t name) const {
    std::int64_t value = 0, count = 0;
    check(library().get_attribute(get(), name, CUDNN_TYPE_INT64, 1, &count, &value), "cudnnBackendGetAttribute");
    return value;
}

void Descriptor::finalize(char const* what) { check(library().finalize(get()), what); }

Target::Target(Context const& context) : handle_(context.handle()) {}

Target::Target(std::string const& described) : descriptor_(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR) {
    descriptor_->set_all(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, std::span<char const>(described));
    descriptor_->finalize("the GPU's described properties");
}

namespace {

// A graph in descriptors. Those of functions and tensors are only named by operations.
class Lowered {
  public:
    Lowered(Graph const& graph, std::size_t tensors, Target const& target) {
        for (std::size_t i = 0; i < tensors; ++i) lower(static_cast<Id>(i + 1), graph[static_cast<Id>(i + 1)]);
        for (Operation const& operation : graph.operations()) lower(operation);
        std::vector<cudnnBackendDescriptor_t> raw;
        for (Descriptor const& operation : operations_) raw.push_back(operation.get());
        graph_.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, std::ssize(raw), raw.data());
        if (target.handle() != nullptr) graph_.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, target.handle());
        graph_.finalize("the graph");
    }
    Descriptor const& graph() const { return graph_; }

  private:
    void lower(Id id, GraphTensor const& tensor) {
        Descriptor& made = tensors_.emplace_back(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
        made.set(CUDNN_ATTR_TENSOR_DATA_TYPE, tensor.type);
        made.set_all(CUDNN_ATTR_TENSOR_DIMENSIONS, std::span<std::int64_t const>(tensor.sizes));
        made.set_all(CUDNN_ATTR_TENSOR_STRIDES, std::span<std::int64_t const>(tensor.strides));
        made.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, id);
        made.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, std::int64_t{16});
        made.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, tensor.is_inner);
        made.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, tensor.constant.has_value());
        set(made, CUDNN_ATTR_TENSOR_RAGGED_OFFSET_DESC, tensor.offsets);
        made.finalize("a tensor");
    }
    void set(Descriptor& descriptor, cudnnBackendAttributeName_t name, Id tensor) const {
        if (tensor != 0) descriptor.set(name, tensors_[static_cast<std::size_t>(tensor - 1)]);
    }
    void lower(Operation const& o) {
        switch (o.kind) {
            case Operation::Kind::pointwise:
                return pointwise(o);
            case Operation::Kind::reduction:
                return reduction(o);
            case Operation::Kind::reshape:
                return reshape(o);
            case Operation::Kind::product:
                return product(o);
            case Operation::Kind::load_pages:
                return load_pages(o);
        }
    }
    Descriptor& function(cudnnBackendDescriptorType_t type) { return functions_.emplace_back(type); }
    Descriptor& operation(cudnnBackendDescriptorType_t type) { return operations_.emplace_back(type); }

    void pointwise(Operation const& o) {
        Descriptor& does = function(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
        does.set(CUDNN_ATTR_POINTWISE_MODE, o.mode);
        does.set(CUDNN_ATTR_POINTWISE_MATH_PREC, o.precision);
        if (o.axis) does.set(CUDNN_ATTR_POINTWISE_AXIS, *o.axis);
        does.finalize("an elementwise function");
        Descriptor& made = operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
        made.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, does);
        set(made, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, o.x);
        set(made, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, o.b);
        set(made, CUDNN_ATTR_OPERATION_POINTWISE_TDESC, o.t);
        set(made, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, o.y);
        made.finalize("an elementwise operation");
    }
    void reduction(Operation const& o) {
        Descriptor& does = function(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
        does.set(CUDNN_ATTR_REDUCTION_OPERATOR, o.reduction);
        does.set(CUDNN_ATTR_REDUCTION_COMP_TYPE, o.precision);
        does.finalize("a reduction");
        Descriptor& made = operation(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
        made.set(CUDNN_ATTR_OPERATION_REDUCTION_DESC, does);
        set(made, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, o.x);
        set(made, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, o.y);
        made.finalize("a reduction");
    }
    void reshape(Operation const& o) {
        Descriptor& made = operation(CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
        set(made, CUDNN_ATTR_OPERATION_RESHAPE_XDESC, o.x);
        set(made, CUDNN_ATTR_OPERATION_RESHAPE_YDESC, o.y);
        made.finalize("a change of shape");
    }
    void product(Operation const& o) {
        Descriptor& does = function(CUDNN_BACKEND_MATMUL_DESCRIPTOR);
        does.set(CUDNN_ATTR_MATMUL_COMP_TYPE, o.precision);
        does.finalize("a matrix product");
        Descriptor& made = operation(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
        made.set(CUDNN_ATTR_OPERATION_MATMUL_DESC, does);
        set(made, CUDNN_ATTR_OPERATION_MATMUL_ADESC, o.x);
        set(made, CUDNN_ATTR_OPERATION_MATMUL_BDESC, o.b);
        set(made, CUDNN_ATTR_OPERATION_MATMUL_CDESC, o.y);
        set(made, CUDNN_ATTR_OPERATION_MATMUL_GEMM_M_OVERRIDE_DESC, o.m);
        set(made, CUDNN_ATTR_OPERATION_MATMUL_GEMM_N_OVERRIDE_DESC, o.n);
        set(made, CUDNN_ATTR_OPERATION_MATMUL_GEMM_K_OVERRIDE_DESC, o.k);
        made.finalize("a matrix product");
    }
    void load_pages(Operation const& o) {
        Descriptor& made = operation(CUDNN_BACKEND_OPERATION_PAGED_CACHE_LOAD_DESCRIPTOR);
        set(made, CUDNN_ATTR_OPERATION_PAGED_CACHE_LOAD_CONTAINER_DESC, o.x);
        set(made, CUDNN_ATTR_OPERATION_PAGED_CACHE_LOAD_PAGE_TABLE_DESC, o.b);
        set(made, CUDNN_ATTR_OPERATION_PAGED_CACHE_LOAD_SEQUENCE_DESC, o.t);
        set(made, CUDNN_ATTR_OPERATION_PAGED_CACHE_LOAD_YDESC, o.y);
        made.finalize("a load of pages");
    }

    std::vector<Descriptor> tensors_, functions_, operations_;
    Descriptor graph_{CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR};
};

}  // namespace

std::vector<Engine> Graph::engines(Target const& target) const {
    Lowered const lowered(*this, tensors_.size(), target);
    Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, lowered.graph());
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_HEUR_MODE_A);
    if (target.handle() == nullptr) heuristics.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, target.described());
    heuristics.finalize("the choice of an engine");
    auto const get = [&](std::int64_t most, void* to) {
        std::int64_t count = 0;
        check(library().get_attribute(heuristics.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                      most, &count, to),
              "the choice of an engine");
        return count;
    };
    std::int64_t const most = get(0, nullptr);
    std::vector<Descriptor> found;
    std::vector<cudnnBackendDescriptor_t> raw;
    for (std::int64_t i = 0; i < most; ++i) raw.push_back(found.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).get());
    std::int64_t const count = most == 0 ? 0 : get(most, raw.data());
    if (count == 0) throw Refusal("no engine supports the graph");
    std::vector<Engine> engines;
    for (auto& engine : std::span(found).first(static_cast<std::size_t>(count))) {
        auto const bytes = static_cast<std::size_t>(engine.number(CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE));
        engines.push_back({std::move(engine), bytes});
    }
    return engines;
}

Plan Graph::plan(Target const& target, std::size_t most_workspace) const {
    std::string reason;
    for (Engine const& engine : engines(target)) {
        if (engine.workspace_bytes > most_workspace) {
            reason = fmt::format("an engine needs {} bytes of working memory", engine.workspace_bytes);
            continue;
        }
        try {
            Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
            plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, engine.configuration);
            plan.finalize("a plan");
            auto const bytes = static_cast<std::size_t>(plan.number(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE));
            Plan made{std::move(plan), bytes, {}};
            for (std::size_t i = 0; i < tensors_.size(); ++i)
                if (tensors_[i].constant) made.constants.emplace_back(static_cast<Id>(i + 1), *tensors_[i].constant);
            return made;
        } catch (Refusal const& refusal) {
            reason = refusal.what();
        }
    }
    throw Refusal(reason);
}

void Context::Destroy::operator()(cudnnHandle_t handle) const { library().destroy(handle); }

Context::Context() {
    cudnnHandle_t handle = nullptr;
    check(library().create(&handle), "cudnnCreate");
    handle_.reset(handle);
}

void Context::run(Plan const& plan, std::span<Binding const> bindings, void* workspace, void* stream) {
    thread_local std::vector<Id> ids;
    thread_local std::vector<void*> memory;
    ids.clear();
    memory.clear();
    for (Binding const& binding : bindings) {
        ids.push_back(binding.tensor);
        memory.push_back(binding.memory);
    }
    for (auto const& [id, value] : plan.constants) {
        ids.push_back(id);
        memory.push_back(const_cast<float*>(&value));  // is read
    }
    try {
        Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
        pack.set_all(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, std::span<Id const>(ids));
        pack.set_all(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, std::span<void* const>(memory));
        pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, workspace);
        pack.finalize("what a plan works on");
        check(library().set_stream(handle_.get(), static_cast<cudaStream_t>(stream)), "cudnnSetStream");
        check(library().execute(handle_.get(), plan.plan.get(), pack.get()), "cudnnBackendExecute");
    } catch (Refusal const& refusal) {
        fail(ExitCode::system, "{}; set precision.batch_invariant = true", refusal.what());
    }
}

void Context::clear(void* memory, std::size_t bytes, void* stream) {
    SELVAGE_CUDA_CHECK(cudaMemsetAsync(memory, 0, bytes, static_cast<cudaStream_t>(stream)));
}

}  // namespace selvage::kernels::cuda::cudnn
#endif
