"""GGUF files without whole blocks, and with special tokens that are read from plain text: what
compress_curves needs besides wattlaw and llama.cpp. Tensor data is copied as it is."""

import hashlib
import struct

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY, _U32 = 8, 9, 4
CONTROL, USER_DEFINED = 3, 4  # types of tokens


class Gguf:
    """Keys and tensors of a file; the tensors' data stays on disk.

    keys: name -> (type, bytes of the value); of arrays the bytes of the elements, behind
    (element type, count). tensors: [(name, shape, type, offset in the data, padded size)].
    """

    def __init__(self, path):
        self.path = path
        with open(path, "rb") as file:
            self._file = file
            magic, self.version, n_tensors, n_keys = struct.unpack("<4sIQQ", file.read(24))
            if magic != b"GGUF" or self.version not in (2, 3):
                raise ValueError(f"{path}: no GGUF file of version 2 or 3")
            self.keys = dict(self._key() for _ in range(n_keys))
            self.tensors = [self._tensor() for _ in range(n_tensors)]
            self.alignment = self.number("general.alignment", 32)
            self.data_at = -(-file.tell() // self.alignment) * self.alignment
            end = file.seek(0, 2) - self.data_at
        by_offset = sorted(offset for *_, offset in self.tensors) + [end]
        following = dict(zip(by_offset, by_offset[1:]))
        self.tensors = [(*rest, offset, following[offset] - offset)
                        for *rest, offset in self.tensors]

    def _read(self, form):
        return struct.unpack(form, self._file.read(struct.calcsize(form)))

    def _text(self):
        return self._file.read(self._read("<Q")[0])

    def _value(self, kind):
        if kind == _STRING:
            text = self._text()
            return struct.pack("<Q", len(text)) + text
        return self._file.read(_SIZES[kind])

    def _key(self):
        name, (kind,) = self._text().decode(), self._read("<I")
        if kind != _ARRAY:
            return name, (kind, self._value(kind))
        inner, count = self._read("<IQ")
        if inner == _STRING:
            return name, (kind, inner, count, b"".join(self._value(inner) for _ in range(count)))
        return name, (kind, inner, count, self._file.read(_SIZES[inner] * count))

    def _tensor(self):
        name, (n_dims,) = self._text().decode(), self._read("<I")
        shape = self._read(f"<{n_dims}Q")
        return (name, shape, *self._read("<IQ"))

    def number(self, name, default=None):
        """A key that is an unsigned number of 32 bits."""
        kind, value = self.keys.get(name, (_U32, None))[:2]
        return struct.unpack("<I", value)[0] if value and kind == _U32 else default

    def text(self, name):
        """A key that is text."""
        return self.keys[name][1][8:].decode()

    def n_blocks(self):
        """Number of blocks."""
        return self.number(self.text("general.architecture") + ".block_count")

    def block_weights(self):
        """Weights of the matrices in blocks."""
        total = 0
        for name, shape, *_ in self.tensors:
            if name.startswith("blk.") and len(shape) > 1:
                weights = 1
                for n in shape:
                    weights *= n
                total += weights
        return total

    def shapes(self):
        """A short name for the sizes and types of all matrices: what speed depends on."""
        told = repr(sorted((name, shape, kind) for name, shape, kind, *_ in self.tensors
                           if len(shape) > 1))
        return hashlib.sha256(told.encode()).hexdigest()[:12]

    def write(self, path):
        """A file of the keys and tensors as they are now."""
        head = struct.pack("<4sIQQ", b"GGUF", self.version, len(self.tensors), len(self.keys))
        for name, (kind, *rest) in self.keys.items():
            value = struct.pack("<IQ", *rest[:2]) + rest[2] if kind == _ARRAY else rest[0]
            head += _packed(name) + struct.pack("<I", kind) + value
        offset = 0
        for name, shape, kind, _, size in self.tensors:
            head += _packed(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
            head += struct.pack("<IQ", kind, offset)
            offset += -(-size // self.alignment) * self.alignment
        with open(self.path, "rb") as source, open(path, "wb") as out:
            out.write(head + bytes(-len(head) % self.alignment))
            for *_, at, size in self.tensors:
                source.seek(self.data_at + at)
                out.write(source.read(size) + bytes(-size % self.alignment))


def _packed(name):
    return struct.pack("<Q", len(name.encode())) + name.encode()


def without_blocks(path, removed, out):
    """Write the file at `path` to `out` without the blocks whose numbers are in `removed`."""
    gguf = Gguf(path)
    arch, n_blocks = gguf.text("general.architecture"), gguf.n_blocks()
    stay = [i for i in range(n_blocks) if i not in removed]
    numbers = {old: new for new, old in enumerate(stay)}
    gguf.keys[arch + ".block_count"] = (_U32, struct.pack("<I", len(stay)))
    for name, (kind, *rest) in gguf.keys.items():
        if kind == _ARRAY and name.startswith(arch + ".") and rest[1] == n_blocks:
            inner, _, values = rest
            size = _SIZES[inner]
            kept = b"".join(values[i * size : (i + 1) * size] for i in stay)
            gguf.keys[name] = (kind, inner, len(stay), kept)
    tensors = []
    for name, *rest in gguf.tensors:
        if name.startswith("blk."):
            _, number, part = name.split(".", 2)
            if int(number) not in numbers:
                continue
            name = f"blk.{numbers[int(number)]}.{part}"
        tensors.append((name, *rest))
    gguf.tensors = tensors
    gguf.write(out)


def with_plain_specials(path, out):
    """A copy whose control tokens are recognised in plain text, which llama-perplexity reads."""
    gguf = Gguf(path)
    kind, inner, count, types = gguf.keys["tokenizer.ggml.token_type"]
    numbers = struct.unpack(f"<{count}i", types)
    changed = [USER_DEFINED if n == CONTROL else n for n in numbers]
    packed = struct.pack(f"<{count}i", *changed)
    gguf.keys["tokenizer.ggml.token_type"] = (kind, inner, count, packed)
    gguf.write(out)
