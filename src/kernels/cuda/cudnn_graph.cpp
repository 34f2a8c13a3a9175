// SPDX-License-Identifier: Apache-2.0
#ifdef SELVAGE_CUDNN
#include "kernels/cuda/cudnn_graph.h"

namespace selvage::kernels::cuda::cudnn {

Four packed(Four const& sizes) { return {sizes[1] * sizes[2] * sizes[3], sizes[2] * sizes[3], sizes[3], 1}; }

Id Graph::add(GraphTensor const& tensor) {
    tensors_.push_back(tensor);
    return static_cast<Id>(tensors_.size());
}

Id Graph::pointwise(cudnnPointwiseMode_t mode, Id x, Id b, Id t, Id into) {
    if (into == 0) into = inner(CUDNN_DATA_FLOAT, (*this)[x].sizes);
    return apply({.kind = Operation::Kind::pointwise, .y = into, .x = x, .b = b, .t = t, .mode = mode});
}
Id Graph::index(cudnnDataType_t precision, Id like, std::int64_t axis) {
    return apply({.kind = Operation::Kind::pointwise,
                  .y = inner(CUDNN_DATA_INT32, (*this)[like].sizes),
                  .x = like,
                  .mode = CUDNN_POINTWISE_GEN_INDEX,
                  .precision = precision,
                  .axis = axis});
}
Id Graph::compare(cudnnPointwiseMode_t mode, Id a, Id b) {
    return apply({.kind = Operation::Kind::pointwise,
                  .y = inner(CUDNN_DATA_BOOLEAN, (*this)[a].sizes),
                  .x = a,
                  .b = b,
                  .mode = mode,
                  .precision = CUDNN_DATA_BOOLEAN});
}
Id Graph::integers(cudnnPointwiseMode_t mode, Id a, Id b) {
    return apply({.kind = Operation::Kind::pointwise,
                  .y = inner(CUDNN_DATA_INT32, (*this)[a].sizes),
                  .x = a,
                  .b = b,
                  .mode = mode,
                  .precision = CUDNN_DATA_INT32});
}
Id Graph::reduce(cudnnReduceTensorOp_t reduction, Id x, Id into) {
    return apply({.kind = Operation::Kind::reduction, .y = into, .x = x, .reduction = reduction});
}
Id Graph::reshape(Id x, Id into) { return apply({.kind = Operation::Kind::reshape, .y = into, .x = x}); }
Id Graph::product(Id a, Id b, Id into, Id m, Id n, Id k) {
    return apply({.kind = Operation::Kind::product, .y = into, .x = a, .b = b, .m = m, .n = n, .k = k});
}
Id Graph::load_pages(Id pages, Id lengths, Id table, Id into) {
    return apply({.kind = Operation::Kind::load_pages, .y = into, .x = pages, .b = table, .t = lengths});
}

}  // namespace selvage::kernels::cuda::cudnn
#endif
