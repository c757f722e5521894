"""Byte-level byte-pair encoding, equal on ASCII text to llama.cpp's `gpt2` model, `gpt-2` pieces.

Text is cut into pieces (a word, a number, a run of punctuation, each with the space before it, or
white space); inside a piece neighbouring symbols merge, lowest rank first. merges.json holds the
ranks; make_merges.py says how they were chosen. Token ids: 256 bytes, the merges in order of rank,
the special tokens, and unused tokens that fill the table up.
"""

import json
import os
import re

MERGES_FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "merges.json")

END_OF_TEXT = "<|endoftext|>"
IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
VISION_START = "<|vision_start|>"
VISION_END = "<|vision_end|>"
IMAGE_PAD = "<|image_pad|>"
VIDEO_PAD = "<|video_pad|>"
SPECIALS = (END_OF_TEXT, IM_START, IM_END, VISION_START, VISION_END, IMAGE_PAD, VIDEO_PAD)

# llama_token_type of GGUF files.
TYPE_NORMAL, TYPE_CONTROL, TYPE_UNUSED = 1, 3, 5

MIN_SIZE = 1024      # of the token table; a vocabulary that needs more grows in steps
SIZE_STEP = 32       # quantised matrices need rows of whole blocks of 32

# re.ASCII: white space is exactly what llama.cpp calls so below 128. Letters and digits beyond
# ASCII would need the Unicode tables; they are treated as punctuation here, unlike there.
_PIECES = re.compile(r"'(?:[stmd]|re|ve|ll)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+",
                     re.ASCII)
_SPECIAL_SPLIT = re.compile("(" + "|".join(map(re.escape, SPECIALS)) + ")")


def _byte_symbols():
    """GPT-2's printable stand-in for each of the 256 bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    symbols = {byte: chr(byte) for byte in printable}
    others = [byte for byte in range(256) if byte not in symbols]
    symbols.update((byte, chr(256 + i)) for i, byte in enumerate(others))
    return symbols


BYTE_TO_SYMBOL = _byte_symbols()
SYMBOL_TO_BYTE = {symbol: byte for byte, symbol in BYTE_TO_SYMBOL.items()}
SPACE = BYTE_TO_SYMBOL[ord(" ")]


class _PieceCache(dict):
    """Piece of text -> its token ids, filled on demand. Task text has few different pieces."""

    MAX_PIECES = 100_000

    def __init__(self, encode_piece):
        super().__init__()
        self._encode_piece = encode_piece

    def __missing__(self, piece):
        if len(self) >= self.MAX_PIECES:
            self.clear()
        ids = self[piece] = self._encode_piece(piece)
        return ids


class Tokenizer:
    """Encodes and decodes text; `tokens`, `types` and `merges` are what a GGUF file stores.

    tokens: the text of each id, in byte symbols; types: its GGUF token type;
    merges: "left right" strings in order of rank.
    """

    def __init__(self, merges):
        self.merges = list(merges)
        pairs = [tuple(merge.split(" ")) for merge in self.merges]
        self._ranks = {pair: rank for rank, pair in enumerate(pairs)}
        normal = [BYTE_TO_SYMBOL[byte] for byte in range(256)] + [a + b for a, b in pairs]
        n_used = len(normal) + len(SPECIALS)
        n_unused = max(MIN_SIZE, -(-n_used // SIZE_STEP) * SIZE_STEP) - n_used
        self.tokens = normal + list(SPECIALS) + [f"<|unused_{i}|>" for i in range(n_unused)]
        self.types = ([TYPE_NORMAL] * len(normal) + [TYPE_CONTROL] * len(SPECIALS)
                      + [TYPE_UNUSED] * n_unused)
        self._ids = {token: i for i, token in enumerate(self.tokens)}
        if len(self._ids) != len(self.tokens):
            raise ValueError("two merges make the same token")
        self.n_normal = len(normal)
        self._pieces = _PieceCache(self._encode_piece)

    @classmethod
    def load(cls, path=MERGES_FILE):
        """The tokenizer of the built-in model."""
        with open(path, encoding="utf-8") as merges_file:
            return cls(json.load(merges_file))

    def __len__(self):
        return len(self.tokens)

    def id_of(self, token):
        """The id of a token given as it stands in `tokens` (KeyError if there is none)."""
        return self._ids[token]

    def encode(self, text):
        """Token ids of `text`; the names of special tokens in it become those tokens."""
        if "<|" not in text:
            return self._encode_plain(text)
        ids = []
        for part in _SPECIAL_SPLIT.split(text):
            if part in SPECIALS:
                ids.append(self._ids[part])
            else:
                ids += self._encode_plain(part)
        return ids

    def decode(self, ids):
        """The text of token ids; bytes that are no UTF-8 become replacement characters."""
        data = bytearray()
        for i in ids:
            token = self.tokens[i]
            if self.types[i] == TYPE_NORMAL:
                data += bytes(SYMBOL_TO_BYTE[symbol] for symbol in token)
            else:
                data += token.encode()
        return data.decode("utf-8", "replace")

    def _encode_plain(self, text):
        ids = []
        pieces = self._pieces
        for piece in _PIECES.findall(text):
            ids += pieces[piece]
        return ids

    def _encode_piece(self, piece):
        symbols = [BYTE_TO_SYMBOL[byte] for byte in piece.encode()]
        while len(symbols) > 1:
            known = [(self._ranks[pair], i) for i, pair in enumerate(zip(symbols, symbols[1:]))
                     if pair in self._ranks]
            if not known:
                break
            _, i = min(known)
            symbols[i:i + 2] = [symbols[i] + symbols[i + 1]]
        return [self._ids[symbol] for symbol in symbols]
