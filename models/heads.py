"""Noise heads on the atom level (parity SPEC 5): what moved the noised segment, each atom, each torsion bond."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.config import DenoiseConfig
from models.edges import INTRA, Edges, Rows, lay_out
from models.encoder import EDGE_REACH, Encoded, MessagePassing
from models.graph import Graph, on_same_device, starts
from models.layers.convolution import Convolution, Parts
from models.layers.harmonics import EDGE_FILTER, AxisFilter, distance, spherical_harmonics
from models.layers.irreps import Block, FeatureSpace
from models.layers.mlp import distance_embedder
from models.layers.slots import Bucket, Slots
from models.neighbour_blocks import PointSets
from models.neighbours import neighbours_within

SEGMENT_REACH = 20.0
"""Largest centre of the distance basis of the segment head, Å."""
AT_CENTRE = 1e-3
"""Atoms this close to the centre of the noised segment are at it, Å."""
TORSION_REACH = 5.0
"""Atoms within this distance of the middle of a torsion bond are its neighbours, Å."""


class NoiseHeads(MessagePassing):
    """The atom level with a head for each kind of noise that the configuration turns on."""

    def __init__(self, config: DenoiseConfig) -> None:
        super().__init__(config)
        hidden, edge, dropout, space = config.atom_hidden_size, config.edge_size, config.dropout, self.spaces[-1]
        self.snap_centre = config.snap_centre
        self.k, self.nearest_first = config.k_neighbors, config.torsion_neighbors == "nearest"
        if config.translation_noise or config.rotation_noise:
            out = FeatureSpace((Block(2, 1, -1), Block(2, 1, 1)))
            self.global_denoise_edge_embedder = distance_embedder(SEGMENT_REACH, edge, dropout)
            parts: Parts = (("edge", edge), ("sender", hidden))
            self.global_denoise_predictor = Convolution(space, EDGE_FILTER, out, parts, dropout)
        if config.atom_noise:
            out = FeatureSpace((Block(1, 1, -1), Block(1, 1, 1)))
            self.local_denoise_edge_embedder = distance_embedder(EDGE_REACH, edge, dropout)
            parts = (("edge", 2 * edge), ("receiver", hidden), ("sender", hidden))
            self.local_denoise_predictor = Convolution(space, EDGE_FILTER, out, parts, dropout)
        if config.torsion_noise:
            out = FeatureSpace((Block(hidden, 0, -1), Block(hidden, 0, 1)))
            self.torsion_edge_embedder = distance_embedder(TORSION_REACH, edge, dropout)
            self.axis_filter = AxisFilter()
            parts = (("edge", edge), ("sender", hidden), ("receiver", hidden))
            self.tor_bond_conv = Convolution(space, AxisFilter.irreps, out, parts, dropout)
            self.tor_final_layer = nn.Sequential(
                *(nn.Linear(2 * hidden, hidden, bias=False), nn.Tanh()),
                *(nn.Dropout(dropout), nn.Linear(hidden, 1, bias=False)),
            )

    def segment_noise(self, atoms: Encoded, graph: Graph) -> tuple[Tensor, Tensor]:
        """Direction of translation and of rotation [graphs, 3] of each noised segment, before scaling."""
        level = graph.atoms
        edges = noised_segments(graph).slots
        centre = segment_centres(edges, level.positions)
        vectors = level.positions[edges.sender] - centre[edges.receiver]
        if self.snap_centre:
            vectors = vectors.masked_fill((vectors.abs().amax(1) < AT_CENTRE)[:, None], 0)
        attributes = self.global_denoise_edge_embedder(distance(vectors))
        scalars = atoms.features[:, : self.hidden]
        out = self.global_denoise_predictor(
            atoms.features, edges, spherical_harmonics(vectors), attributes, sender=scalars
        )
        o0, o1, e0, e1 = out.unflatten(1, (3, 4)).unbind(2)
        return o0 + e0, o1 + e1

    def atom_noise(self, atoms: Encoded, graph: Graph, edges: Edges, kinds: Tensor) -> Tensor:
        """Direction [atoms, 3] of the noise of each atom, before scaling."""
        slots, positions = edges.slots, graph.atoms.positions
        vectors = positions[slots.sender] - positions[slots.receiver]
        near = self.local_denoise_edge_embedder(distance(vectors))
        attributes = torch.cat([near, F.embedding(edges.kind, kinds)], 1)
        scalars = atoms.features[:, : self.hidden]
        filters = spherical_harmonics(vectors)
        out = self.local_denoise_predictor(atoms.features, slots, filters, attributes, scalars, scalars)
        return out.unflatten(1, (3, 2)).sum(2)

    def torsion_noise(self, atoms: Encoded, graph: Graph, bonds: Tensor) -> tuple[Tensor, Slots]:
        """One number [bonds] for each torsion bond [2, bonds], and the neighbours used."""
        positions = graph.atoms.positions
        first, second = positions[bonds[0]], positions[bonds[1]]
        middle = (first + second) / 2
        slots = self.torsion_slots(middle, bonds[0], graph)
        vectors = positions[slots.sender] - middle[slots.receiver]
        filters = self.axis_filter(vectors, (second - first)[slots.receiver])
        attributes = self.torsion_edge_embedder(distance(vectors))
        scalars = atoms.scalars[:, : self.hidden]
        ends = scalars[bonds[0]] + scalars[bonds[1]]
        out = self.tor_bond_conv(atoms.features, slots, filters, attributes, ends, scalars)
        return self.tor_final_layer(out).squeeze(1), slots

    def torsion_slots(self, middle: Tensor, spare: Tensor, graph: Graph) -> Slots:
        """At most k atoms of the same graph within reach of the middle of each bond; bonds stand graph after graph.

        Args:
            middle: [bonds, 3]. spare: [bonds] any atom of the graph, for empty slots.
        """
        centres = PointSets(middle.detach().float(), np.array(graph.torsions_list, np.int64))
        atoms = PointSets(graph.atoms.positions.detach().float(), graph.atoms.counts.sum((1, 2)))
        chosen, real = neighbours_within(centres, atoms, TORSION_REACH, self.k, self.nearest_first)
        sender, n = torch.where(real, chosen, spare[:, None]), len(middle)
        number = torch.arange(n, device=middle.device)
        return Slots(
            n,
            number,
            number[:, None].expand(n, self.k).flatten(),
            sender.flatten(),
            real.flatten(),
            1 / real.sum(1).clamp(min=1).to(middle.dtype),
            (Bucket(0, n, self.k, 0),) if n else (),
        )


def noised_segments(graph: Graph) -> Edges:
    """One receiver a graph, whose senders are the atoms of its noised segment."""
    level = graph.atoms
    counts = level.counts.sum(2)
    noised = (np.array(graph.noisy_list) == 1).astype(np.int64)
    degree = np.take_along_axis(counts, noised[:, None], 1)[:, 0]
    begin = starts(counts.reshape(-1)).reshape(-1, 2)
    first = on_same_device(np.take_along_axis(begin, noised[:, None], 1)[:, 0], level.order)
    sender, number = level.segment_order(), torch.arange(graph.n_graphs, device=first.device)
    rows = Rows(np.ones_like(degree), degree, number, first, sender, torch.full_like(sender, INTRA))
    return lay_out([rows], graph.n_graphs, level.positions)


def segment_centres(slots: Slots, positions: Tensor) -> Tensor:
    """[receivers, 3] mean position of the senders of each receiver."""
    points = positions[slots.sender]
    if slots.filled is not None:
        points = points * slots.filled[:, None]
    total = positions.new_zeros(slots.n_receivers, 3).index_add(0, slots.receiver, points)
    count = positions.new_ones(slots.n_receivers).index_copy(0, slots.nodes, (1 / slots.inverse_count).round())
    return total / count[:, None]
