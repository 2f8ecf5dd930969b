"""Options of the composition model: how blocks are encoded, and the network behind (docs/composition.md)."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from configs.errors import ConfigError
from configs.options import at_least, require

GEOMETRIC, COMPOSITION = "geometric", "composition"
MODEL_KINDS = (GEOMETRIC, COMPOSITION)
BlockEncoding = Literal["hash", "embed", "rank_pool", "transformer"]
Pooling = Literal["attention", "mean"]

WIDEST = 65536
MODEL_DEFAULTS: dict[str, dict[str, Any]] = {
    GEOMETRIC: {},
    COMPOSITION: {
        "task": "regression",
        "dropout": 0.3,
        "batch_size": 32768,
        "max_epoch": 500,
        "patience": 50,
        "loss_config": "mae",
    },
}
"""Defaults of options of other groups that go by `--model`."""


@dataclass(frozen=True)
class CompositionOptions:
    """The composition model: blocks are counted, geometry is left out."""

    block_encoding: BlockEncoding = "hash"
    """Encoding of the blocks of a segment: a signed hash, vectors of the most frequent, a weighted pool, attention."""
    hash_dim: int = 32
    """Width of the hashed vector of a segment."""
    block_embed_dim: int = 32
    """Width of the learned vector of a block type."""
    top_k: int = 5
    """Block classes and kinds of a segment, the most frequent, that get learned vectors (0: none)."""
    top_k_blocks: int = 10
    """Block types of a segment, the most frequent, that block_encoding embed keeps."""
    hidden_dims: str = "2048,1024,512,256,128,64"
    """Widths of the network behind the encoding, joined by commas."""
    n_heads: int = 4
    """Attention heads of block_encoding transformer."""
    transformer_ff_dim: int = 256
    """Width of the feed-forward layer of block_encoding transformer."""
    transformer_pooling: Pooling = "attention"
    """How block_encoding transformer joins the blocks of an item: by learned weights, or their mean."""
    transformer_dropout: float = 0.1
    """Dropout of block_encoding transformer."""
    n_attention_layers: int = 0
    """Self-attention layers of block_encoding transformer (0: the vectors are only pooled)."""

    def __post_init__(self) -> None:
        encodings = get_args(BlockEncoding)
        if self.block_encoding not in encodings:
            raise ConfigError(
                f"unknown encoding {self.block_encoding!r}", "--block_encoding", hint=f"known: {', '.join(encodings)}"
            )
        at_least(self, 1, "hash_dim", "block_embed_dim", "top_k_blocks", "n_heads", "transformer_ff_dim")
        at_least(self, 0, "top_k", "n_attention_layers")
        poolings = get_args(Pooling)
        pooling = self.transformer_pooling
        require(pooling in poolings, "transformer_pooling", pooling, f"one of {', '.join(poolings)}")
        dropout = self.transformer_dropout
        require(0 <= dropout < 1, "transformer_dropout", dropout, "in [0, 1)")
        width, heads = self.block_embed_dim, self.n_heads
        fits = self.block_encoding != "transformer" or width % heads == 0
        require(fits, "block_embed_dim", width, f"a multiple of --n_heads ({heads})")
        _ = self.widths

    @property
    def widths(self) -> tuple[int, ...]:
        """`hidden_dims` as numbers."""
        words = [word.strip() for word in self.hidden_dims.split(",") if word.strip()]
        ok = bool(words) and all(word.isdecimal() and 0 < int(word) <= WIDEST for word in words)
        require(ok, "hidden_dims", self.hidden_dims, f"whole numbers from 1 to {WIDEST} joined by commas")
        return tuple(map(int, words))


def check_model(kind: str) -> None:
    """Refuse an unknown `--model`; ConfigError."""
    if kind not in MODEL_KINDS:
        raise ConfigError(f"unknown model {kind!r}", "--model", hint=f"known: {', '.join(MODEL_KINDS)}")
