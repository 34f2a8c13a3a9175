# SPDX-License-Identifier: Apache-2.0
"""Files of named tensors, which tests in C++ read too (tests/model/reference.h).

Little-endian: "SELVREF1", int32 number of tensors; each int32 name length, name, int32 type (0 float32, 1 float64,
2 int32, 3 bytes), int32 rank, rank int64 dims, data.
"""
import math
import struct

import numpy as np

TYPES = [np.dtype("<f4"), np.dtype("<f8"), np.dtype("<i4"), np.dtype("u1")]


def read(path):
    data = path.read_bytes()
    assert data[:8] == b"SELVREF1", path
    (count,), at, tensors = struct.unpack_from("<i", data, 8), 12, {}
    for _ in range(count):
        (length,) = struct.unpack_from("<i", data, at)
        name = data[at + 4:at + 4 + length].decode()
        kind, rank = struct.unpack_from("<ii", data, at + 4 + length)
        at += 12 + length
        dims = struct.unpack_from(f"<{rank}q", data, at)
        at += 8 * rank
        size = math.prod(dims)
        tensors[name] = np.frombuffer(data, TYPES[kind], size, at).reshape(dims)
        at += size * TYPES[kind].itemsize
    return tensors


def write(path, tensors):
    with open(path, "wb") as file:
        file.write(b"SELVREF1" + struct.pack("<i", len(tensors)))
        for name, array in tensors.items():
            file.write(struct.pack("<i", len(name)) + name.encode())
            file.write(struct.pack("<ii", TYPES.index(array.dtype), array.ndim))
            file.write(struct.pack(f"<{array.ndim}q", *array.shape) + array.tobytes())
