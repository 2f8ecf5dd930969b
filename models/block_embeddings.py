"""External vectors of blocks (from a protein language model, say), mixed in before and after the block level."""

from typing import Any

import torch
from torch import Tensor, nn

from configs.errors import DataError
from models.graph import field as entry
from models.graph import integers
from models.layers.mlp import mlp


class BlockEmbeddingMixer(nn.Module):
    """Mixin in front of a model that derives from Backbone (parity SPEC 7).

    p = pre_projector(vectors);  t <- pre_mixing_ffn([t | p]) on the block features before the cross attention, and the
    same with `post_...` on the output of the block level. With one size for each segment there are two sets of these
    networks, named with 0 and 1, and each block goes through those of its own segment; rows stay in place.

    A model without any size behaves as the plain one.
    """

    config: Any

    def __init__(self, config: Any) -> None:
        super().__init__(config)  # type: ignore[call-arg]
        self.embedding_sizes: dict[str, int] = {}
        if config.block_embedding_size is not None:
            self.embedding_sizes = {"": config.block_embedding_size}
        elif config.block_embedding0_size is not None:
            self.embedding_sizes = {"0": config.block_embedding0_size, "1": config.block_embedding1_size}
        hidden = config.atom_hidden_size
        shape = (config.num_projector_layers, config.projector_dropout, getattr(config, "nonlinearity", "relu"))
        layers, dropout, nonlinearity = shape
        for suffix, size in self.embedding_sizes.items():
            for stage in ("pre", "post"):
                projector = mlp(layers, size, config.projector_hidden_size, hidden, dropout, nonlinearity)
                mixing = mlp(layers, 2 * hidden, 2 * hidden, hidden, dropout, nonlinearity)
                self.add_module(f"{stage}_projector{suffix}", projector)
                self.add_module(f"{stage}_mixing_ffn{suffix}", mixing)

    def mix_before(self, start: Tensor, batch: Any) -> Tensor:
        return self._mix("pre", start, batch)

    def mix_after(self, block_repr: Tensor, batch: Any) -> Tensor:
        return self._mix("post", block_repr, batch)

    def _mix(self, stage: str, blocks: Tensor, batch: Any) -> Tensor:
        out = blocks
        for suffix, size in self.embedding_sizes.items():
            vectors = self._vectors(batch, suffix, size, blocks)
            projected = self.get_submodule(f"{stage}_projector{suffix}")(vectors)
            mixed = self.get_submodule(f"{stage}_mixing_ffn{suffix}")(torch.cat([blocks, projected], 1))
            if suffix:
                own = integers(batch, "segment_ids") == int(suffix)
                mixed = torch.where(own[:, None], mixed, out)  # type: ignore[index]
            out = mixed
        return out

    def _vectors(self, batch: Any, suffix: str, size: int, blocks: Tensor) -> Tensor:
        """[blocks, size]; a segment's own vectors come as rows of its blocks only, or as rows of all blocks."""
        name = f"block_embeddings{suffix}"
        value = entry(batch, name)
        if value is None and suffix:
            value = entry(batch, "block_embeddings")
        if value is None:
            raise DataError(f"lacks {name}", "batch", hint="the model needs external vectors of every block")
        vectors = torch.as_tensor(value).to(blocks)
        if vectors.shape[1] < size or (not suffix and vectors.shape[1] != size):
            raise DataError(f"{name} has width {vectors.shape[1]}, the model wants {size}", "batch")
        vectors = vectors[:, :size]
        if len(vectors) == len(blocks):
            return vectors
        own = integers(batch, "segment_ids") == int(suffix or 0)
        if not suffix:
            raise DataError(f"{name} has {len(vectors)} rows for {len(blocks)} blocks", "batch")
        return blocks.new_zeros(len(blocks), size).masked_scatter(own[:, None], vectors)  # type: ignore[index]
