"""Edges of the block level of an item's masked copies, which they share with the item."""

import torch
from torch import Tensor

from models.backbone import Backbone
from models.edges import Edges, neighbour_edges
from models.graph import Level
from models.layers.slots import Bucket, Slots


class BlockCopies:
    """Edges of the block level and their geometry, which copies share but for those of the global blocks that moved.

    A masked block stays where it was up to rounding, so that all copies have the item's neighbours.
    """

    def __init__(self, model: Backbone, level: Level) -> None:
        config, self.level = model.config, level
        self.net, self.kinds = model.top_encoder.encoder, model.edge_embedding_top.weight
        self.edges = neighbour_edges(level, config.k_neighbors, config.global_message_passing)
        slots = self.edges.slots
        vectors = level.positions[slots.sender] - level.positions[slots.receiver]
        self.filters, self.attributes = self.net.geometry(vectors, self.edges.kind, self.kinds)
        self.moves = level.special[slots.sender] | level.special[slots.receiver]

    def of(self, level: Level) -> tuple[Edges, tuple[Tensor, Tensor]]:
        """Edges of copies of the item, and what `MessagePassing.geometry` gives for them.

        Args:
            level: of a batch of the copies alone.
        """
        n_copies, slots = level.n // self.level.n, self.edges.slots
        shift = torch.arange(n_copies, device=level.graph.device)[:, None] * self.level.n
        nodes, edges, shifts, buckets = [], [], [], []
        n_nodes = n_edges = 0
        for first, n, degree, begin in slots.buckets:
            node = torch.arange(first, first + n, device=shift.device).expand(n_copies, -1)
            slot = torch.arange(begin, begin + n * degree, device=shift.device).expand(n_copies, -1)
            nodes.append((node.flatten(), shift.expand(-1, n).flatten()))
            edges.append(slot.flatten())
            shifts.append(shift.expand(-1, n * degree).flatten())
            buckets.append(Bucket(n_nodes, n * n_copies, degree, n_edges))
            n_nodes, n_edges = n_nodes + n * n_copies, n_edges + n * degree * n_copies
        row, row_shift = (torch.cat(part) for part in zip(*nodes))
        edge, by = torch.cat(edges), torch.cat(shifts)
        filled = None if slots.filled is None else slots.filled[edge]
        receiver, sender = slots.receiver[edge] + by, slots.sender[edge] + by
        copied = Slots(
            *(level.n, slots.nodes[row] + row_shift, receiver, sender, filled, slots.inverse_count[row]),
            tuple(buckets),
        )
        filters, attributes, kind = self.filters[edge], self.attributes[edge], self.edges.kind[edge]
        again = self.moves[edge].nonzero()[:, 0]
        vectors = level.positions[sender[again]] - level.positions[receiver[again]]
        filters[again], attributes[again] = self.net.geometry(vectors, kind[again], self.kinds)
        return Edges(copied, kind), (filters, attributes)
