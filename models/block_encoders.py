"""Blocks of both segments, counted by type, as one vector an item: four ways (docs/composition.md)."""

import hashlib
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from configs.composition_options import CompositionOptions
from data.block_taxonomy import CLASSES, KINDS, BlockTaxonomy
from data.composition import SEGMENTS, BlockCounts

PADDING, UNKNOWN_ID, FIRST_ID = 0, 1, 2
CLASS_WIDTH = 8  # of the vector of a block class or kind


def signed_hash(symbol: str, width: int) -> tuple[int, float]:
    """Place and sign of a name in a hashed vector: the same in every process and on every machine.

    Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009, with BLAKE2 for both hashes.
    """
    digest = int.from_bytes(hashlib.blake2b(symbol.encode(), digest_size=8).digest(), "big")
    return (digest >> 1) % width, 1.0 if digest & 1 else -1.0


def own_ids(blocks: Sequence[str], vocabulary: Sequence[str]) -> Tensor:
    """[block types] row of a table of learned vectors: one for all that training never saw, which is not padding."""
    seen = set(vocabulary)
    return torch.tensor([FIRST_ID + place if name in seen else UNKNOWN_ID for place, name in enumerate(blocks)])


class BlockVectors(nn.Module):
    """Learned vectors of block types. What training never saw has one vector for all, of zeros: it says nothing."""

    def __init__(self, blocks: Sequence[str], vocabulary: Sequence[str], width: int) -> None:
        super().__init__()
        self.register_buffer("ids", own_ids(blocks, vocabulary), persistent=False)
        self.table = nn.Embedding(FIRST_ID + len(blocks), width, padding_idx=PADDING)
        nn.init.normal_(self.table.weight)
        with torch.no_grad():
            self.table.weight[:FIRST_ID] = 0

    def forward(self, ids: Tensor) -> Tensor:
        return self.table(ids)


class BlockEncoding(nn.Module):
    """Base of the encodings.

    Attributes:
        width: of the vector of an item.
    """

    width: int


class HashEncoding(BlockEncoding):
    """Shares of the blocks of a segment, hashed into a vector with alternating signs. Linear, and nothing is learned.

    The vector of two segments joined is the mean of theirs, weighted by their numbers of blocks.
    """

    def __init__(self, options: CompositionOptions, blocks: Sequence[str], vocabulary: Sequence[str]) -> None:
        super().__init__()
        table = torch.zeros(len(blocks), options.hash_dim)
        for row, name in zip(table, blocks):
            place, sign = signed_hash(name, options.hash_dim)
            row[place] = sign
        self.register_buffer("table", table, persistent=False)
        self.width = SEGMENTS * options.hash_dim

    def forward(self, counts: BlockCounts) -> Tensor:
        rows = self.table[counts.type] * counts.share()[:, None]  # type: ignore[index]
        return pooled(rows, counts).reshape(counts.n_items, -1)


class TopBlocksEncoding(BlockEncoding):
    """Learned vectors of the most frequent block types of a segment, side by side, each times its share."""

    def __init__(self, options: CompositionOptions, blocks: Sequence[str], vocabulary: Sequence[str]) -> None:
        super().__init__()
        self.vectors = BlockVectors(blocks, vocabulary, options.block_embed_dim)
        self.most = options.top_k_blocks
        self.width = SEGMENTS * options.top_k_blocks * options.block_embed_dim

    def forward(self, counts: BlockCounts) -> Tensor:
        ids, share = top_of_bags(self.vectors.ids[counts.type], counts.share(), counts, self.most)  # type: ignore[index]
        return (self.vectors(ids) * share[..., None]).reshape(counts.n_items, -1)


class RankPoolEncoding(BlockEncoding):
    """Learned vectors of all block types of a segment, pooled with weights that fall with their rank, without padding.

    The type of rank r (0: the most frequent) has the weight exp(s) / (1 + r) with a learned s of the type, and the
    weights of a segment are brought to a sum of 1.
    """

    def __init__(self, options: CompositionOptions, blocks: Sequence[str], vocabulary: Sequence[str]) -> None:
        super().__init__()
        self.vectors = BlockVectors(blocks, vocabulary, options.block_embed_dim)
        self.scale = nn.Embedding(FIRST_ID + len(blocks), 1)
        nn.init.zeros_(self.scale.weight)
        self.width = SEGMENTS * options.block_embed_dim

    def forward(self, counts: BlockCounts) -> Tensor:
        ids = self.vectors.ids[counts.type]  # type: ignore[index]
        weight = self.scale(ids).squeeze(1).exp() / (1 + counts.rank())
        total = weight.new_zeros(counts.n_bags).index_add(0, counts.bag, weight)
        rows = self.vectors(ids) * (weight / total[counts.bag])[:, None]
        return pooled(rows, counts).reshape(counts.n_items, -1)


class TransformerEncoding(BlockEncoding):
    """Attention among the blocks of both segments, whatever their order.

    Equal blocks of a segment are one token: their number enters all attention as its logarithm, which gives exactly
    what as many separate tokens would.
    """

    def __init__(self, options: CompositionOptions, blocks: Sequence[str], vocabulary: Sequence[str]) -> None:
        super().__init__()
        width = options.block_embed_dim
        self.vectors = BlockVectors(blocks, vocabulary, width)
        self.segment = nn.Embedding(SEGMENTS, width)
        self.layers = nn.ModuleList(AttentionLayer(options) for _ in range(options.n_attention_layers))
        self.score = nn.Linear(width, 1) if options.transformer_pooling == "attention" else None
        self.width = width

    def forward(self, counts: BlockCounts) -> Tensor:
        item, place = counts.item, counts.place_in_item()
        longest = int(place.max()) + 1 if len(place) else 1
        values = self.vectors(self.vectors.ids[counts.type]) + self.segment(counts.bag % SEGMENTS)  # type: ignore[index]
        tokens = values.new_zeros(counts.n_items, longest, values.shape[1]).index_put((item, place), values)
        number = values.new_full((counts.n_items, longest), -torch.inf)
        number = number.index_put((item, place), counts.blocks.to(values.dtype).log())
        for layer in self.layers:
            tokens = layer(tokens, number)
        logits = number if self.score is None else number + self.score(tokens).squeeze(2)
        return (logits.softmax(1)[..., None] * tokens).sum(1)


class AttentionLayer(nn.Module):
    """Self-attention and a feed-forward layer, both behind a layer norm and around a shortcut."""

    def __init__(self, options: CompositionOptions) -> None:
        super().__init__()
        width, dropout = options.block_embed_dim, options.transformer_dropout
        self.heads, self.dropout = options.n_heads, dropout
        self.norm, self.project, self.join = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, options.transformer_ff_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(options.transformer_ff_dim, width),
            nn.Dropout(dropout),
        )

    def forward(self, tokens: Tensor, number: Tensor) -> Tensor:
        """New tokens.

        Args:
            tokens: [items, tokens, width]. number: [items, tokens] logarithm of how often each counts; -inf: padding.
        """
        n, length, width = tokens.shape
        parts = self.project(self.norm(tokens)).reshape(n, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mask = number[:, None, None, :].expand(n, self.heads, length, length)
        dropout = self.dropout if self.training else 0.0
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        tokens = tokens + self.join(found.transpose(1, 2).reshape(n, length, width))
        return tokens + self.feed_forward(tokens)


class TaxonomyEncoding(BlockEncoding):
    """Learned vectors of the most frequent block classes of a segment, and of the kinds of molecule they are from.

    It also tells what a block is like that training never saw.
    """

    def __init__(self, options: CompositionOptions, blocks: Sequence[str]) -> None:
        super().__init__()
        taxonomy = BlockTaxonomy(blocks)
        self.most = options.top_k
        for name, numbers, size in (("classes", taxonomy.classes, len(CLASSES)), ("kinds", taxonomy.kinds, len(KINDS))):
            self.register_buffer(name, torch.from_numpy(numbers), persistent=False)
            table = nn.Embedding(size, CLASS_WIDTH, padding_idx=PADDING)
            with torch.no_grad():
                table.weight *= CLASS_WIDTH**-0.5
            self.add_module(f"{name}_table", table)
        self.width = 2 * SEGMENTS * options.top_k * CLASS_WIDTH

    def forward(self, counts: BlockCounts) -> Tensor:
        found = []
        for name in ("classes", "kinds"):
            table = getattr(self, f"{name}_table")
            joined = counts.joined(getattr(self, name)[counts.type])
            ids, share = top_of_bags(joined.type, joined.share(), joined, self.most)
            found.append((table(ids) * share[..., None]).reshape(counts.n_items, -1))
        return torch.cat(found, 1)


def pooled(rows: Tensor, counts: BlockCounts) -> Tensor:
    """[bags, width] sum of the rows [entries, width] of each bag."""
    return rows.new_zeros(counts.n_bags, rows.shape[1]).index_add(0, counts.bag, rows)


def top_of_bags(ids: Tensor, share: Tensor, counts: BlockCounts, most: int) -> tuple[Tensor, Tensor]:
    """[bags, most] ids and shares of the most frequent entries of each bag; id 0 and share 0 where it has fewer."""
    rank = counts.rank()
    kept = rank < most
    place = counts.bag[kept], rank[kept]
    found = ids.new_full((counts.n_bags, most), PADDING).index_put(place, ids[kept])
    return found, share.new_zeros(counts.n_bags, most).index_put(place, share[kept])


ENCODINGS: dict[str, Callable[[CompositionOptions, Sequence[str], Sequence[str]], BlockEncoding]] = {
    "hash": HashEncoding,
    "embed": TopBlocksEncoding,
    "rank_pool": RankPoolEncoding,
    "transformer": TransformerEncoding,
}
"""`--block_encoding` -> its module."""
