// SPDX-License-Identifier: Apache-2.0
#include "model/weight_source.h"

namespace selvage {

void ResidentWeights::pack(Arena& arena, Use use) {
    if (use == Use::training && compute_ == DType::f32) return unpack();
    for (Linear* const linear : weights_.matrices()) {
        TensorView const weight = linear->weight.value;
        if (linear->packed && linear->packed->use() == use) {
            linear->packed->update(weight, stream_);
        } else {
            linear->packed = std::make_shared<kernels::PackedWeight>(arena, weight, compute_, use);
            ++moves_;
        }
    }
}

void ResidentWeights::unpack() {
    for (Linear* const linear : weights_.matrices()) linear->packed.reset();
    ++moves_;
}

}  // namespace selvage
