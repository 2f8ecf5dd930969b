"""The blocks of interfaces counted by type, which is all that the composition model sees of them.

Counts are entries of a flat list: a bag (twice the item's number, and one more for segment 1), a block type, and how
many blocks and atoms of it the bag has. Entries come by bag, in a bag by falling number of blocks, then by type.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from configs.errors import DataError
from configs.task_options import LabelOptions
from data.dataset import InterfaceDataset
from data.item import Item
from data.labels import Labels, read_labels
from data.sampler import BatchSampler
from data.shards import ShardReader
from data.vocab import GLOBAL, MASK, PAD

NOT_COUNTED = (PAD, MASK, GLOBAL)
SEGMENTS = 2


@dataclass(frozen=True)
class BlockCounts:
    """Blocks of items by type.

    Attributes:
        bag, type, blocks, atoms: [entries] int64. n_items: number of items, also those without blocks.
    """

    bag: Tensor
    type: Tensor
    blocks: Tensor
    atoms: Tensor
    n_items: int

    @property
    def n_bags(self) -> int:
        return SEGMENTS * self.n_items

    @property
    def item(self) -> Tensor:
        """[entries] number of the item."""
        return self.bag // SEGMENTS

    def rank(self) -> Tensor:
        """[entries] 0 for the most frequent type of a bag, then 1, ..."""
        return _place(self.bag, self.n_bags)

    def place_in_item(self) -> Tensor:
        """[entries] 0 for the first entry of an item, then 1, ..."""
        return _place(self.item, self.n_items)

    def total(self, weight: str = "blocks") -> Tensor:
        """[bags] number of blocks or atoms."""
        values = getattr(self, weight)
        return values.new_zeros(self.n_bags).index_add(0, self.bag, values)

    def share(self) -> Tensor:
        """[entries] share of the blocks of the bag."""
        return self.blocks / self.total()[self.bag]

    def joined(self, types: Tensor) -> "BlockCounts":
        """The counts under coarser types [entries]."""
        return _counted(self.bag, types, self.blocks, self.atoms, self.n_items)


def _place(group: Tensor, n_groups: int) -> Tensor:
    """[entries] place of each entry among those of its group; groups come one after another."""
    sizes = torch.bincount(group, minlength=n_groups)
    return torch.arange(len(group), device=group.device) - (sizes.cumsum(0) - sizes)[group]


def _counted(bag: Tensor, types: Tensor, blocks: Tensor, atoms: Tensor, n_items: int) -> BlockCounts:
    """Counts with equal types of a bag added up, in their order."""
    width = int(types.max()) + 1 if len(types) else 1
    key, place = (bag * width + types).unique(return_inverse=True)
    blocks, atoms = (torch.zeros_like(key).index_add(0, place, values) for values in (blocks, atoms))
    bag, types = key // width, key % width
    order = (-blocks).argsort(stable=True)
    order = order[bag[order].argsort(stable=True)]
    return BlockCounts(bag[order], types[order], blocks[order], atoms[order], n_items)


def count_blocks(types: Tensor, atoms: Tensor, bag: Tensor, n_items: int) -> BlockCounts:
    """Count blocks by bag and type; padding, masks and global blocks are left out.

    Args:
        types, atoms, bag: [blocks] block type, number of atoms, and bag of each block.
    """
    kept = torch.ones_like(types, dtype=torch.bool)
    for special in NOT_COUNTED:
        kept &= types != special
    types, atoms, bag = types[kept].long(), atoms[kept].long(), bag[kept].long()
    return _counted(bag, types, torch.ones_like(types), atoms, n_items)


def block_counts_of(batch: Any) -> BlockCounts:
    """The counts of a batch of `CompositionLoader`, or of any batch of items."""
    lengths = batch["lengths"]
    if "entry_bag" in batch:
        bag, types, blocks, atoms = (batch[f"entry_{name}"] for name in ("bag", "type", "blocks", "atoms"))
        return BlockCounts(bag, types, blocks, atoms, len(lengths))
    graph = torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths)
    bag = SEGMENTS * graph + batch["segment_ids"]
    return count_blocks(batch["B"], batch["block_lengths"], bag, len(lengths))


def counts_of_items(dataset: InterfaceDataset | Sequence[Item]) -> BlockCounts:
    """The counts of a whole data set, as it is stored."""
    columns = [column for part in getattr(dataset, "parts", [dataset]) for column in _columns(part)]
    types, atoms, segments, lengths = (np.concatenate(column).astype(np.int64) for column in zip(*columns))
    bag = SEGMENTS * np.repeat(np.arange(len(lengths)), lengths) + segments
    found = [torch.from_numpy(array) for array in (types, atoms, bag)]
    return count_blocks(found[0], found[1], found[2], len(lengths))


def _columns(part: Sequence[Item]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Block types, atoms and segments of all blocks, and the number of blocks of each item, file by file."""
    if isinstance(part, ShardReader):
        for file in range(len(part.manifest["files"])):
            columns = [part.batch(file).column(name) for name in ("B", "block_lengths", "segment_ids")]
            lengths = columns[0].value_lengths().to_numpy(zero_copy_only=False)
            yield (*(column.flatten().to_numpy() for column in columns), lengths)  # type: ignore[misc]
        return
    items = list(part)
    arrays = [[item.B for item in items], [item.block_lengths for item in items], [item.segment_ids for item in items]]
    yield (*(np.concatenate(array) for array in arrays), np.array([len(item.B) for item in items]))  # type: ignore[misc]


class CompositionLoader:
    """Batches of block counts: the items are read once, then nothing but numbers is handed out.

    Iterating gives dictionaries with `entry_bag`, `entry_type`, `entry_blocks`, `entry_atoms` [entries], `lengths`,
    `label`, `modality` [items], `targets` [items, targets] where there are any, and `id`.

    Args:
        dataset: items; its transform is passed over. sampler: which items make which batch, of `dataset.counts`.
    """

    def __init__(self, dataset: InterfaceDataset, sampler: BatchSampler) -> None:
        self.dataset, self.batch_sampler = dataset, sampler
        self.counts = counts_of_items(dataset)
        ends = torch.bincount(self.counts.item, minlength=self.counts.n_items).cumsum(0).numpy()
        self.size = np.diff(ends, prepend=0)
        self.first = ends - self.size
        if not self.size.all():
            empty = dataset.stored(int(np.flatnonzero(self.size == 0)[0]))
            raise DataError("has no blocks, so nothing is known of it", empty.id)
        self.ids = np.array([name for part in dataset.parts for name in _ids(part)], object)
        labels: Labels = read_labels(dataset, LabelOptions())
        self.targets = None if labels.columns is None else torch.from_numpy(labels.values).float()
        self.label = torch.from_numpy(np.array(dataset.counts["label"], np.float32))
        self.modality = torch.from_numpy(np.array(dataset.counts["modality"], np.int64))

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self.batch(np.array([index for _, index in pairs])) for pairs in self.batch_sampler)

    def batch(self, indices: np.ndarray) -> dict[str, Any]:
        """The batch of the items with these numbers, in this order."""
        size = self.size[indices]
        starts = np.repeat(self.first[indices] - (np.cumsum(size) - size), size)
        rows = torch.from_numpy(starts + np.arange(size.sum()))
        place = torch.from_numpy(np.repeat(np.arange(len(indices)), size))
        counts = self.counts
        chosen = torch.from_numpy(indices)
        batch = {
            "entry_bag": SEGMENTS * place + counts.bag[rows] % SEGMENTS,
            "entry_type": counts.type[rows],
            "entry_blocks": counts.blocks[rows],
            "entry_atoms": counts.atoms[rows],
            "lengths": torch.from_numpy(np.asarray(self.dataset.counts["n_blocks"], np.int64)[indices]),
            "label": self.label[chosen],
            "modality": self.modality[chosen],
            "id": self.ids[indices].tolist(),
        }
        return batch if self.targets is None else batch | {"targets": self.targets[chosen]}


def _ids(part: Sequence[Item]) -> list[str]:
    return part.ids if isinstance(part, ShardReader) else [item.id for item in part]
