"""A minimal writer of GGUF files (version 3, little endian): keys first, then tensors.

Only what the export needs: scalar, text and array keys; tensors as F32, F16 or Q8_0.
"""

import struct

import numpy as np

MAGIC, VERSION, ALIGNMENT = b"GGUF", 3, 32
BLOCK = 32  # values that share one scale in Q8_0

# value types of keys
U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
_PACK = {U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}

# name -> (number of the tensor type, number of the file type)
TENSOR_TYPES = {"f32": (0, 0), "f16": (1, 1), "q8_0": (8, 7)}


def _text(value):
    data = value.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def _scalar(kind, value):
    return _text(value) if kind == STRING else struct.pack(_PACK[kind], value)


def quantize_q8_0(matrix):
    """f32 [rows, columns] -> bytes uint8 [rows, ...]: per 32 values an F16 scale and 32 int8."""
    rows, columns = matrix.shape
    if columns % BLOCK:
        raise ValueError(f"Q8_0 needs rows of whole blocks of {BLOCK}, not {columns} values")
    blocks = matrix.astype(np.float32).reshape(rows, -1, BLOCK)
    scale = np.abs(blocks).max(-1, keepdims=True) / np.float32(127)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    scaled = blocks * inverse
    whole = np.trunc(scaled + np.copysign(np.float32(0.5), scaled)).astype(np.int8)
    parts = (scale.astype("<f2").view(np.uint8), whole.view(np.uint8))
    return np.concatenate(parts, -1).reshape(rows, -1)


def dequantize_q8_0(data):
    """The inverse of quantize_q8_0, as the runtime reads it: f32 [rows, columns]."""
    blocks = np.ascontiguousarray(data).reshape(len(data), -1, BLOCK + 2)
    scale = np.ascontiguousarray(blocks[..., :2]).view("<f2").astype(np.float32)
    return (scale * blocks[..., 2:].view(np.int8)).reshape(len(data), -1)


class GgufWriter:
    """Collects keys and tensors in order; `write` makes the file."""

    def __init__(self):
        self._keys = []
        self._tensors = []  # (name, shape as in numpy, type number, bytes)

    def key(self, name, kind, value):
        """Add a scalar or text key; kind is one of U32, I32, F32, BOOL, STRING."""
        self._keys.append(_text(name) + struct.pack("<I", kind) + _scalar(kind, value))

    def array(self, name, kind, values):
        """Add a key whose value is an array of one kind."""
        head = struct.pack("<IIQ", ARRAY, kind, len(values))
        self._keys.append(_text(name) + head + b"".join(_scalar(kind, v) for v in values))

    def tensor(self, name, values, kind):
        """Add a tensor; kind is a key of TENSOR_TYPES. The last axis of values is the inner one."""
        values = np.asarray(values, np.float32)
        if kind == "q8_0":
            data = quantize_q8_0(values).tobytes()
        else:
            data = values.astype("<f4" if kind == "f32" else "<f2").tobytes()
        self._tensors.append((name, values.shape, TENSOR_TYPES[kind][0], data))

    def write(self, path):
        """Write the file."""
        head = MAGIC + struct.pack("<IQQ", VERSION, len(self._tensors), len(self._keys))
        infos, offset = [], 0
        for name, shape, kind, data in self._tensors:
            inner_first = struct.pack(f"<{len(shape)}Q", *reversed(shape))
            infos.append(_text(name) + struct.pack("<I", len(shape)) + inner_first)
            infos.append(struct.pack("<IQ", kind, offset))
            offset += len(_padded(data))
        with open(path, "wb") as file:
            file.write(_padded(head + b"".join(self._keys) + b"".join(infos)))
            for *_, data in self._tensors:
                file.write(_padded(data))


def _padded(data):
    return data + bytes(-len(data) % ALIGNMENT)
