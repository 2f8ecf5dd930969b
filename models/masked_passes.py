"""Results of a model for an item and for copies of it with one block masked, as far as they can share work."""

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from data.item import Item
from data.masking import apply_mask
from models.backbone import full_precision
from models.encoder import Encoded
from models.explained import Explained
from models.graph import Graph
from models.masked_batch import CollatedItem
from models.masked_blocks import BlockCopies
from models.masked_copies import AtomCopies


def masked_vectors(what: Explained, item: Item, max_blocks: int, tolerance: float) -> Iterator[Tensor]:
    """What is explained: first of the item, then of it with each block masked in turn, some copies at a time.

    Args:
        max_blocks: of all copies, computed at a time. tolerance: see `AtomCopies.of`.
    """
    backbone, at_a_time = what.backbone, max(1, max_blocks // item.n_blocks)
    if backbone.config.bottom_global_message_passing:  # a mask then moves every atom's neighbourhood
        yield what.vectors(*what.encode([item]))
        for start in range(0, item.n_blocks, at_a_time):
            stop = min(item.n_blocks, start + at_a_time)
            yield what.vectors(*what.encode([masked_copy(item, block) for block in range(start, stop)]))
        return
    collated = CollatedItem(item)
    with full_precision(backbone.edge_embedding_bottom.weight):
        shared = AtomCopies(backbone, collated, features=False)
        all_ordinary = int(shared.graph.blocks.special.sum()) == collated.n_blocks - item.n_blocks
        between_blocks = BlockCopies(backbone, shared.graph.blocks) if all_ordinary else None  # else masks change edges

        def vectors(batch: dict[str, Tensor], graph: Graph, atoms: Encoded) -> Tensor:
            between = None if between_blocks is None else between_blocks.of(graph.blocks)
            return what.vectors(backbone.from_atoms(batch, graph, atoms, shared.edges, False, between), batch)

        yield vectors(what.to_device(collated.batch()), shared.graph, shared.result)
        for start in range(0, item.n_blocks, at_a_time):
            blocks = collated.ordinary[start : start + at_a_time]
            masked = collated.masked(blocks)
            batch = what.to_device(masked.batch)
            yield vectors(batch, backbone.read(batch), shared.of(blocks, masked, tolerance))


def masked_copy(item: Item, block: int) -> Item:
    """The item with one block masked."""
    return apply_mask(item, np.arange(item.n_blocks) == block)
