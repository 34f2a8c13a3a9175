// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a kernel may use beside plain C++, and launch(): CUDA's own where nvcc compiles, the emulation on processors
// elsewhere. A source includes this one header and no header of CUDA; see kernels/cuda/README.md.
#ifdef __CUDACC__
#include "device/cuda/native.h"
#else
#include "device/cuda/emulation/instructions.h"
#endif
