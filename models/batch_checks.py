"""What must hold for the arrays of a batch before a model computes with them.

Wrong numbers would otherwise end in an index error without a name, or in another graph's place without any error.
"""

import torch
from torch import Tensor

from configs.errors import DataError

WHERE = "batch"


def check_shapes(X: Tensor, A: Tensor, B: Tensor, block_lengths: Tensor, segment_ids: Tensor, lengths: Tensor) -> None:
    """Refuse arrays of the wrong shape, or of sizes that contradict each other; asks no device for anything.

    Raises:
        DataError: naming the arrays.
    """
    if X.dim() != 2 or X.shape[1] != 3:
        raise DataError(f"X has shape {tuple(X.shape)}", WHERE, hint="coordinates are [atoms, 3]")
    flat = {"A": A, "B": B, "block_lengths": block_lengths, "segment_ids": segment_ids, "lengths": lengths}
    for name, value in flat.items():
        if value.dim() != 1:
            raise DataError(f"{name} has shape {tuple(value.shape)}", WHERE, hint="it is a list of whole numbers")
    if len(X) != len(A) or len(block_lengths) != len(B) or len(segment_ids) != len(B):
        raise DataError(
            f"X has {len(X)} and A {len(A)} atoms; B has {len(B)}, block_lengths {len(block_lengths)} and "
            f"segment_ids {len(segment_ids)} blocks",
            WHERE,
        )
    if not len(lengths):
        raise DataError("holds no complex", WHERE)


def check_structure(A: Tensor, block_lengths: Tensor, segment_ids: Tensor, lengths: Tensor) -> None:
    """Refuse sizes that don't add up, empty blocks or complexes, and more than two segments.

    Raises:
        DataError: naming the array.
    """
    for name, value, many, what in (
        ("lengths", lengths, len(segment_ids), "blocks"),
        ("block_lengths", block_lengths, len(A), "atoms"),
    ):
        if int(value.min()) < 1:
            raise DataError(f"{name} says {int(value.min())} {what} at {int(value.argmin())}", WHERE, hint="at least 1")
        if int(value.sum()) != many:
            raise DataError(f"{name} sum to {int(value.sum())}, but there are {many} {what}", WHERE)
    check_range("segment_ids", segment_ids, 2, "a complex has two segments")


def check_range(name: str, values: Tensor, size: int, hint: str) -> None:
    """Refuse numbers outside 0 to size - 1.

    Raises:
        DataError: naming the first of them.
    """
    if not len(values):
        return
    least, largest = torch.aminmax(values)
    if int(least) < 0 or int(largest) >= size:
        place = int(((values < 0) | (values >= size)).to(torch.uint8).argmax())
        raise DataError(f"{name} has {int(values[place])} at {place}, not 0 to {size - 1}", WHERE, hint=hint)


def check_bonds(bonds: Tensor, target: Tensor, owner: Tensor, n_atoms: int, n_graphs: int) -> None:
    """Refuse torsion bonds that don't stand complex after complex, or name atoms that are not there.

    Args:
        bonds: [2, bonds] atoms. target: [bonds]. owner: [bonds] complex of each.

    Raises:
        DataError: naming the array.
    """
    if bonds.shape != (2, len(owner)) or len(target) != len(owner):
        told = (
            f"tor_edges has shape {tuple(bonds.shape)}, tor_score {tuple(target.shape)}, tor_batch {len(owner)} bonds"
        )
        raise DataError(told, WHERE)
    check_range("tor_edges", bonds.flatten(), n_atoms, "both ends are atoms of the batch")
    check_range("tor_batch", owner, n_graphs, "the complex of each bond")
    if bool((owner[1:] < owner[:-1]).any()):
        raise DataError("tor_batch goes back to an earlier complex", WHERE, hint="bonds stand complex after complex")
