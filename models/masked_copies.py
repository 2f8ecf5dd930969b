"""An item and many copies of it, each with one block masked, at the cost of what the mask changes.

A masked block is one atom of its own type at the block's centre. On the atom level all other atoms stay where they are,
so an atom's neighbours change only near the block, and a layer passes the change on to direct neighbours only: after
the layers of a published model about half of the atoms differ, after the first ones few. Only those are computed again
(`AtomCopies`), for all copies in one sweep; the others are taken from the item itself. The block level is computed
whole, since its global blocks tell every block about every other (`masked_blocks`).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from data.vocab import ATOM_MASK
from models.backbone import Backbone
from models.edges import INTER, INTRA, Edges, neighbour_edges
from models.encoder import Encoded, kept
from models.graph import Level
from models.layers.slots import Bucket, Slots
from models.masked_batch import CollatedItem, MaskedBatch
from models.neighbour_blocks import FAR, PointSets, distances, smallest, sort_keys
from models.neighbours import nearest_neighbours


class Row(NamedTuple):
    """Atoms of copies whose features a mask changes, in the order of the layers that first change them.

    Attributes:
        copy, atom: [rows] which (atom n_atoms is the mask). upto: [layers + 1] rows changed after so many layers.
        place: [copies, n_atoms + 1] row of each atom; beyond all rows where the mask changes nothing.
    """

    copy: Tensor
    atom: Tensor
    upto: list[int]
    place: Tensor


@dataclass
class Neighbours:
    """Of each atom the nearest of its own segment, and of the other: [n, candidates] by (distance, number).

    Attributes:
        atom, key: [n, candidates] numbers, and what sorts them (FAR: there is none).
    """

    atom: Tensor
    key: Tensor


class AtomCopies:
    """The atom level of an item, whose parts its masked copies share.

    Args:
        model: without messages of global atoms on this level.
        item: without blocks that count as global nodes.
    """

    def __init__(self, model: Backbone, collated: CollatedItem, features: bool) -> None:
        self.model, self.collated, self.features = model, collated, features
        self.k, self.net = model.config.k_neighbors, model.encoder.encoder
        self.kinds = model.edge_embedding_bottom.weight
        device, dtype = self.kinds.device, self.kinds.dtype
        batch = {name: values.to(device) for name, values in collated.batch().items()}
        self.graph = model.read(batch)
        level: Level = self.graph.atoms
        self.positions = level.positions
        self.n = level.n
        self.edges = neighbour_edges(level, self.k, False)
        self.layers = self._whole(self.edges)
        self.result = self.net.finish(self.layers[-1])
        self.mask = model.block_embedding.atom_embedding.weight[ATOM_MASK].to(dtype)
        self.points = level.positions.detach().float().cpu()
        self.segment, self.special = level.segment.cpu(), level.special.cpu()
        self.sides = self._candidates(level)

    def _whole(self, edges: Edges) -> list[Tensor]:
        """[atoms, width] features of the item before the first layer and after each."""
        x = self.model.block_embedding.atom_embedding(self.graph.A)
        slots, layers = edges.slots, [x]
        vectors = self.positions[slots.sender] - self.positions[slots.receiver]
        filters, attributes = self.net.geometry(vectors, edges.kind, self.kinds)
        for number in range(len(self.net.layers)):
            layers.append(self.net.step(number, layers[-1], layers[-1], slots, filters, attributes, self.features))
        return layers

    def _candidates(self, level: Level) -> tuple[Neighbours, Neighbours]:
        """Enough neighbours for any one block to be taken from them."""
        counts = level.counts.reshape(-1, 2)[:, 0]
        begin = level.counts.reshape(-1).cumsum() - level.counts.reshape(-1)
        order = level.order.cpu()
        nodes = torch.cat([order[b : b + n] for b, n in zip(begin[::2].tolist(), counts.tolist())])
        most = self.k + int(self.collated.arrays["block_lengths"].max())
        found = nearest_neighbours(PointSets(self.points[nodes], counts), most)
        sides = []
        for table, degree in zip(found, (np.clip(counts - 1, 0, most), np.clip(counts[::-1], 0, most))):
            wide = torch.from_numpy(np.repeat(degree, counts))[:, None]
            atom = torch.zeros(self.n, most, dtype=torch.long)
            key = torch.full((self.n, most), FAR)
            atom[nodes] = nodes[table]
            away = distances(self.points[nodes][:, None], self.points[atom[nodes]])[:, 0]
            key[nodes] = sort_keys(away, atom[nodes]).where(torch.arange(most) < wide, FAR)
            sides.append(Neighbours(atom, key))
        return sides[0], sides[1]

    def of(self, blocks: np.ndarray, masked: MaskedBatch, tolerance: float = 0.0) -> Encoded:
        """The atom level of the copies, as if they had been computed one by one.

        Args:
            tolerance: an atom that feels less of the mask than this keeps its own change and the message that it gets
                in the item. It feels its own change and the mean of those of its neighbours, relative to the mean
                length of a feature. 0: all are computed.
        """
        chosen = torch.from_numpy(blocks)
        lists = _Lists(self, chosen)
        rows = lists.rows(len(self.net.layers))
        x = self._changed(lists, rows, tolerance)
        changed = self.net.finish(x)
        atom = torch.where(torch.from_numpy(masked.is_mask), self.n, torch.from_numpy(masked.atom))
        place = rows.place[torch.from_numpy(masked.copy), atom]
        index = torch.where(place < len(rows.copy), place, len(rows.copy) + atom).to(x.device)
        return Encoded(*(torch.cat(pair)[index] for pair in zip(changed, self.result)))

    def _changed(self, lists: "_Lists", rows: Row, tolerance: float) -> Tensor:
        """[rows, width] features after the last layer."""
        edges = self._edges(lists, rows)
        x = self.mask.expand(rows.upto[0], -1)
        for number, base in enumerate(self.layers[:-1]):
            before, m = rows.upto[number], rows.upto[number + 1]
            receivers = torch.cat([x, base[edges.atom[before:m]]])
            change = receivers - base[edges.atom[:m]] if tolerance else None
            taken = torch.arange(m, device=base.device)
            if change is not None:
                size = torch.where(edges.is_mask[:m], 1.0, change.norm(dim=1) / base.norm(dim=1).mean())
                taken = (edges.felt(number, size, before) > tolerance).nonzero()[:, 0]
            slots, filters, attributes = edges.of(taken, before)
            senders = torch.cat([x, base])
            x = self.net.step(number, receivers[taken], senders, slots, filters, attributes, self.features)
            if change is not None:
                same = kept(self.net, number, change, x.shape[1]) + self.layers[number + 1][edges.atom[:m]]
                x = same.index_copy(0, taken, x)
        return x

    def _edges(self, lists: "_Lists", rows: Row) -> "_RowEdges":
        """The edges of the rows, all 2k of each, and their geometry."""
        sender, kinds, filled = lists.neighbours(rows)
        device, degree = self.mask.device, 2 * self.k
        positions = torch.cat([self.positions, lists.centre.to(self.positions)])
        at = torch.where(rows.atom < self.n, rows.atom, self.n + rows.copy)
        of_sender = torch.where(sender < self.n, sender, self.n + rows.copy[:, None])
        vectors = positions[of_sender.flatten().to(device)] - positions[at.repeat_interleave(degree).to(device)]
        count = filled.sum(1)
        inverse = torch.where(count > 0, 1 / count.clamp(min=1), 0).to(self.positions)
        geometry = self.net.geometry(vectors, kinds.repeat(len(rows.atom)).to(device), self.kinds)
        return _RowEdges(
            atom=rows.atom.clamp(max=self.n - 1).to(device),
            is_mask=(rows.atom == self.n).to(device),
            others=F.pad(lists.changed, (0, 1))[rows.copy, rows.atom].to(device),
            sender=sender.to(device),
            place=rows.place[rows.copy[:, None], sender].to(device),
            filled=filled.to(device),
            inverse=inverse,
            geometry=geometry,
            all_filled=bool(filled.all()),
        )


class _RowEdges(NamedTuple):
    """Edges of rows (see `Row`), degree = 2k of each.

    Attributes:
        atom: [rows] of the item (any for a mask). is_mask: [rows]. others: [rows] whether some neighbours are others.
        sender: [rows, degree] atoms. place: [rows, degree] their rows. filled: [rows, degree] whether there is one.
        inverse: [rows] 1 / number of edges. geometry: harmonics and attributes [rows * degree, any].
    """

    atom: Tensor
    is_mask: Tensor
    others: Tensor
    sender: Tensor
    place: Tensor
    filled: Tensor
    inverse: Tensor
    geometry: tuple[Tensor, Tensor]
    all_filled: bool

    def felt(self, number: int, size: Tensor, before: int) -> Tensor:
        """[rows] what rows feel of the mask: their own change, and the mean of those of their senders.

        A neighbour in place of another counts as one that changed wholly; on the first layer, where nothing else
        tells of the mask and computing is cheap, as enough by itself.

        Args:
            size: [rows so far] change of their features, relative to the mean length of a feature.
            before: rows that had changed before this layer.
        """
        m = len(size)
        sent = F.pad(size[:before], (0, 1))[self.place[:m].clamp(max=before)]
        enough = torch.where(self.others[:m], self.inverse[:m] if number else torch.inf, 0)
        enough = enough.masked_fill(self.is_mask[:m], torch.inf)
        return size + (sent * self.filled[:m]).sum(1) * self.inverse[:m] + enough

    def of(self, taken: Tensor, before: int) -> tuple[Slots, Tensor, Tensor]:
        """Slots of some rows, whose senders are the rows before this layer and then the item's atoms; geometry."""
        n, degree = len(taken), self.sender.shape[1]
        edge = (taken[:, None] * degree + torch.arange(degree, device=taken.device)).flatten()
        place = self.place[taken]
        slots = Slots(
            n_receivers=n,
            nodes=torch.arange(n, device=taken.device),
            receiver=torch.arange(n, device=taken.device).repeat_interleave(degree),
            sender=torch.where(place < before, place, before + self.sender[taken]).flatten(),
            filled=None if self.all_filled else self.filled[taken].flatten(),
            inverse_count=self.inverse[taken],
            buckets=(Bucket(0, n, degree, 0),),
        )
        return slots, self.geometry[0][edge], self.geometry[1][edge]


class _Lists:
    """Neighbours in some copies: those that a mask changes, and which atoms it reaches."""

    def __init__(self, shared: AtomCopies, blocks: Tensor) -> None:
        self.shared, self.blocks = shared, blocks
        c = shared.collated
        block_of_atom = torch.from_numpy(c.block_of_atom)
        self.centre = torch.from_numpy(c.centre)[blocks]
        self.first = torch.from_numpy(c.first_atom)[blocks]
        own_segment = torch.from_numpy(c.arrays["segment_ids"])[blocks]
        self.gone = block_of_atom == blocks[:, None]  # [copies, atoms]
        self.same = shared.segment == own_segment[:, None]
        self.usable = ~self.gone & ~shared.special
        away = distances(self.centre[None], shared.points[None])[0]
        self.mask_key = sort_keys(away, self.first[:, None])  # of the mask in the lists of atoms
        self.own_key = sort_keys(away, torch.arange(shared.n))  # of atoms in the list of the mask
        self.block_of_atom = block_of_atom
        self.changed = self._changed()

    def _changed(self) -> Tensor:
        """[copies, atoms] whose neighbours are others than before."""
        k = self.shared.k
        changed = torch.zeros_like(self.gone)
        for side, here in zip(self.shared.sides, (self.same, ~self.same)):
            lost = (self.block_of_atom[side.atom[:, :k]] == self.blocks[:, None, None]) & (side.key[:, :k] < FAR)
            changed |= lost.any(2)
            changed |= here & (self.mask_key < side.key[:, k - 1])
        return changed & self.usable

    def rows(self, n_layers: int) -> Row:
        """Which atoms of which copies differ after each layer."""
        shared, n_copies = self.shared, len(self.blocks)
        k = shared.k
        entered = torch.full((n_copies, shared.n + 1), n_layers + 1)
        entered[:, -1] = 0
        reached = self.changed
        near = torch.cat([side.atom[:, :k].where(side.key[:, :k] < FAR, shared.n) for side in shared.sides], 1)
        for layer in range(1, n_layers + 1):
            if layer > 1:
                there = F.pad(reached, (0, 1))
                reached = reached | (there[:, near].any(2) & self.usable)
            entered[:, :-1].masked_fill_(reached & (entered[:, :-1] > n_layers), layer)
        flat = entered.flatten()
        order = flat.argsort(stable=True)
        upto = torch.bincount(flat, minlength=n_layers + 2).cumsum(0)[: n_layers + 1].tolist()
        order = order[: upto[-1]]
        place = torch.full_like(flat, upto[-1])
        place[order] = torch.arange(len(order))
        width = shared.n + 1
        return Row(order // width, order % width, upto, place.view(n_copies, width))

    def neighbours(self, rows: Row) -> tuple[Tensor, Tensor, Tensor]:
        """[rows, 2k] senders (n_atoms: the mask), [2k] types of the edges, [rows, 2k] whether there is one."""
        shared, k = self.shared, self.shared.k
        senders, filled = [], []
        is_mask = rows.atom == shared.n
        other = (~is_mask).nonzero()[:, 0]
        anew = other[self.changed[rows.copy[other], rows.atom[other]]]
        copy, atom = rows.copy[anew], rows.atom[anew]
        masks = is_mask.nonzero()[:, 0]
        for side, here in zip(shared.sides, (self.same, ~self.same)):
            chosen = torch.zeros(len(rows.atom), k, dtype=torch.long)
            real = torch.zeros_like(chosen, dtype=torch.bool)
            chosen[other], real[other] = side.atom[rows.atom[other], :k], side.key[rows.atom[other], :k] < FAR
            lost = self.block_of_atom[side.atom[atom]] == self.blocks[copy, None]
            extra = torch.where(here[copy, atom], self.mask_key[copy, atom], FAR)[:, None]
            keys, columns = smallest(torch.cat([side.key[atom].masked_fill(lost, FAR), extra], 1), k)
            table = F.pad(side.atom[atom], (0, 1), value=shared.n)
            chosen[anew], real[anew] = table.gather(1, columns), keys < FAR
            keys, columns = smallest(self.own_key.where(here & self.usable, FAR)[rows.copy[masks]], k)
            chosen[masks], real[masks] = columns, keys < FAR
            senders.append(chosen)
            filled.append(real)
        kinds = torch.tensor([INTRA] * k + [INTER] * k)
        return torch.cat(senders, 1), kinds, torch.cat(filled, 1)
