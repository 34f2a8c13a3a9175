// SPDX-License-Identifier: Apache-2.0
#pragma once
// The vector type and all that is built on it, by the instruction set that a source in isa/ is compiled for
// (SELVAGE_ISA names it). simd/ is the only place with intrinsics. Everything in it has internal linkage, so that code
// for one instruction set is never merged with another's.
#include "kernels/cpu/simd/lanes.h"
#include "kernels/cpu/simd/math.h"
#include "kernels/cpu/simd/pairs.h"
#include "kernels/cpu/simd/tiles.h"
#include "kernels/cpu/simd/vector.h"
#include "kernels/cpu/simd/whole_sum.h"
