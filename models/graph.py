"""What a batch looks like: which atom and block belongs where, and the sizes as Python numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from configs.errors import DataError
from data.batch_sizes import batch_sizes
from data.vocab import GLOBAL, UNKNOWN
from models.batch_checks import check_shapes, check_structure

REQUIRED = ("X", "A", "B", "block_lengths", "segment_ids", "lengths")


@dataclass(frozen=True)
class Level:
    """Nodes of one message-passing level, graph after graph.

    Attributes:
        positions: [nodes, 3] Å. graph, segment: [nodes]. special: [nodes] global nodes (and unknown blocks, if asked).
        order: [nodes] nodes sorted by (graph, segment, special), ascending inside each set.
        sizes: for each graph ((ordinary, special) of segment 0, (ordinary, special) of segment 1), as numbers.
    """

    positions: Tensor
    graph: Tensor
    segment: Tensor
    special: Tensor
    order: Tensor
    sizes: list[list[list[int]]]

    @property
    def n(self) -> int:
        return len(self.graph)

    @property
    def counts(self) -> np.ndarray:
        """[graphs, 2 segments, 2] ordinary and special nodes, the runs of `order`."""
        return np.array(self.sizes, np.int64).reshape(-1, 2, 2)

    def segment_order(self) -> Tensor:
        """[nodes] sorted by (graph, segment), ascending inside each segment."""
        return (self.graph * 2 + self.segment).argsort(stable=True)


@dataclass(frozen=True)
class Graph:
    """A batch with its derived indices.

    Attributes:
        A: [atoms], B, block_lengths, segment_ids: [blocks], lengths: [graphs] as in the batch, int64.
        block_of_atom: [atoms]. graph_of_block: [blocks].
        atoms, blocks: the two levels.
        lengths_list, ordinary_list, torsions_list: blocks, blocks that are not global, torsion bonds of each graph, as
            numbers.
        noisy_list: noised segment of each graph as numbers; empty where the batch has none.
    """

    A: Tensor
    B: Tensor
    block_lengths: Tensor
    segment_ids: Tensor
    lengths: Tensor
    block_of_atom: Tensor
    graph_of_block: Tensor
    atoms: Level
    blocks: Level
    lengths_list: list[int]
    ordinary_list: list[int]
    torsions_list: list[int]
    noisy_list: list[int]

    @property
    def n_graphs(self) -> int:
        return len(self.lengths)


def field(batch: Any, name: str) -> Any:
    """One entry of a mapping or torch-geometric batch; None when it is absent."""
    if isinstance(batch, Mapping):
        return batch.get(name)
    return batch[name] if name in batch else None  # noqa: SIM401 - torch-geometric batches have no such get


def integers(batch: Any, name: str) -> Tensor | None:
    """An integer entry as int64."""
    value = field(batch, name)
    return None if value is None else torch.as_tensor(value).long()


def read_graph(batch: Any, dtype: torch.dtype, unknown_is_special: bool) -> Graph:
    """Derive indices and sizes of a batch, without asking the device for numbers where collation stored them.

    Args:
        batch: mapping or torch-geometric batch with at least X, A, B, block_lengths, segment_ids, lengths.
        dtype: precision of the positions.
        unknown_is_special: blocks of unknown type count as global nodes, as in the published program.

    Raises:
        DataError: an entry is missing, or the sizes contradict each other; what the checks of models.batch_checks tell.
    """
    missing = [name for name in REQUIRED if field(batch, name) is None]
    if missing:
        raise DataError(f"lacks {', '.join(missing)}", "batch", hint=f"a model needs {', '.join(REQUIRED)}")
    A, B, block_lengths, segment_ids, lengths = (torch.as_tensor(field(batch, name)).long() for name in REQUIRED[1:])
    X = torch.as_tensor(field(batch, "X")).to(dtype)
    n_atoms, n_blocks, n_graphs = len(A), len(B), len(lengths)
    check_shapes(X, A, B, block_lengths, segment_ids, lengths)
    if on_host(B):  # elsewhere this would ask the device; batches come from `data.collate`
        check_structure(A, block_lengths, segment_ids, lengths)
    graph_of_block = torch.arange(n_graphs, device=B.device).repeat_interleave(lengths, output_size=n_blocks)
    block_of_atom = torch.arange(n_blocks, device=B.device).repeat_interleave(block_lengths, output_size=n_atoms)
    special = B == GLOBAL
    if unknown_is_special:
        special = special | (B == UNKNOWN)
    keys = (graph_of_block * 2 + segment_ids) * 2 + special
    atom_keys = keys[block_of_atom]
    numbers = _sizes(batch, (B, block_lengths, segment_ids, lengths), unknown_is_special)
    sizes = [_by_set(numbers[4 * n_graphs * i : 4 * n_graphs * (i + 1)]) for i in range(2)]
    lists = [numbers[(8 + i) * n_graphs : (9 + i) * n_graphs] for i in range(4)]
    centre = X.new_zeros(n_blocks, 3).index_add_(0, block_of_atom, X) / block_lengths[:, None]
    graph, segment = graph_of_block[block_of_atom], segment_ids[block_of_atom]
    atoms = Level(X, graph, segment, special[block_of_atom], atom_keys.argsort(stable=True), sizes[0])
    blocks = Level(centre, graph_of_block, segment_ids, special, keys.argsort(stable=True), sizes[1])
    indices = (A, B, block_lengths, segment_ids, lengths, block_of_atom, graph_of_block)
    return Graph(*indices, atoms, blocks, *lists)


def counted(index: Tensor, size: int) -> Tensor:
    """[size] how often each number occurs (as torch.bincount, which asks the device for the largest)."""
    return index.new_zeros(size).index_add_(0, index, torch.ones_like(index))


def starts(counts: np.ndarray) -> np.ndarray:
    """Where each run begins, of runs of these lengths."""
    return np.cumsum(counts) - counts


def on_same_device(numbers: np.ndarray, like: Tensor) -> Tensor:
    """Numbers of the host beside a tensor, without waiting for its device."""
    return torch.from_numpy(np.ascontiguousarray(numbers)).to(like.device, non_blocking=True)


def runs(counts: np.ndarray, like: Tensor) -> tuple[Tensor, Tensor]:
    """[sum] number of the run and place in it, for each member of runs of these lengths."""
    total = int(counts.sum())
    first, length = on_same_device(np.stack([starts(counts), counts]), like)
    run = torch.arange(len(counts), device=like.device).repeat_interleave(length, output_size=total)
    return run, torch.arange(total, device=like.device) - first[run]


def on_host(tensor: Tensor) -> bool:
    """Whether looking at the numbers of a tensor costs nothing."""
    return tensor.device.type == "cpu"


def _sizes(batch: Any, structure: tuple[Tensor, ...], unknown_is_special: bool) -> list[int]:
    """`batch_sizes`, as collation stored them; counted here (which a GPU has to wait for) for batches without."""
    stored = field(batch, "sizes")
    if stored is not None and not on_host(structure[0]):
        return stored[int(unknown_is_special)]
    tensors = [*structure, integers(batch, "tor_batch"), integers(batch, "noisy_segment")]
    arrays: list[Any] = [None if tensor is None else tensor.cpu().numpy() for tensor in tensors]
    return batch_sizes(arrays[0], arrays[1], arrays[2], arrays[3], arrays[4], arrays[5], unknown_is_special)


def _by_set(counts: list[int]) -> list[list[list[int]]]:
    """Counts by (graph, segment, special), flat, as nested lists."""
    return [[counts[i : i + 2], counts[i + 2 : i + 4]] for i in range(0, len(counts), 4)]
