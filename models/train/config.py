"""Dimensions of the built-in model pair, in one place for training, export and tests."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Config:
    """Every dimension of the text half and of the vision half.

    Only `vocab` has no default: the tokenizer decides it. Lengths are in tokens, sides in pixels.
    """

    vocab: int

    # text half (architecture qwen2vl)
    width: int = 256
    layers: int = 6
    heads: int = 8
    kv_heads: int = 2
    ff: int = 768
    rope_base: float = 10000.0
    rope_sections: tuple = (2, 5, 9, 0)  # pairs that follow time, row, column; the last is unused
    rms_eps: float = 1e-6
    context: int = 4096

    # vision half (projector qwen2vl_merger)
    vision_width: int = 192
    vision_layers: int = 5
    vision_heads: int = 6
    vision_ff: int = 512
    vision_rope_base: float = 10000.0
    vision_eps: float = 1e-6
    patch: int = 14
    merge: int = 2
    image_mean: tuple = (0.5, 0.5, 0.5)
    image_std: tuple = (0.25, 0.25, 0.25)
    min_cells: int = 4
    max_cells: int = 144

    # start of the text half: the first heads look back a fixed number of tokens
    lookback_strength: float = 6.0
    lookback_first: int = 8  # offsets 1..8 over all heads of layer 0
    lookback_second: int = 4  # offsets 1..4 over the first KV group of layer 1

    def __post_init__(self):
        if self.width % self.heads or self.heads % self.kv_heads:
            raise ValueError("heads must divide width, kv_heads must divide heads")
        if self.vision_width % self.vision_heads or self.vision_head % 4:
            raise ValueError("the vision head size must be a whole multiple of 4")
        if sum(self.rope_sections) != self.head // 2:
            raise ValueError(f"rope_sections must add up to {self.head // 2}")
        if self.vision_ff == self.vision_width:
            # llama.cpp then takes the two ffn matrices for each other, without a word
            raise ValueError("vision_ff must differ from vision_width")

    @property
    def head(self):
        """Size of one attention head of the text half."""
        return self.width // self.heads

    @property
    def qkv_rows(self):
        """Rows of the joined query, key and value matrix."""
        return self.width + 2 * self.kv_heads * self.head

    @property
    def vision_head(self):
        """Size of one attention head of the vision half."""
        return self.vision_width // self.vision_heads

    @property
    def cell(self):
        """Side in pixels of the square that becomes one image token."""
        return self.patch * self.merge

    @property
    def image_min_pixels(self):
        """Smallest image area after resizing, as written into the file."""
        return self.min_cells * self.cell**2

    @property
    def image_max_pixels(self):
        """Largest image area after resizing (the clamp), as written into the file."""
        return self.max_cells * self.cell**2

    def to_dict(self):
        """Plain dictionary for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields):
        """The inverse of to_dict; lists (from JSON) become tuples again."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})


def feature_count():
    """Number of features that a panel's cell can have (the K of the feature table)."""
    from panel import FEATURES  # imported late: export and parity do without panels

    return len(FEATURES)
