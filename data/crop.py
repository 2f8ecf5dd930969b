"""Cropping: the part of a large item around one contact of its two segments."""

from typing import Any

import numpy as np

from data.item import FIELDS, Item


def block_centres(item: Item) -> np.ndarray:
    """[blocks, 3] mean position of every block's atoms, Å (float64)."""
    starts = np.cumsum(item.block_lengths) - item.block_lengths
    return np.add.reduceat(item.X.astype(np.float64), starts) / np.asarray(item.block_lengths)[:, None]


def _random_contact(centres: np.ndarray, segments: np.ndarray, rng: np.random.Generator) -> list[int]:
    """Two blocks of different segments that are each other's nearest, close to a random block.

    With a single segment: one random block.
    """
    here = int(rng.integers(len(segments)))
    others = np.flatnonzero(segments != segments[here])
    if not len(others):
        return [here]
    there = int(others[np.argmin(((centres[others] - centres[here]) ** 2).sum(1))])
    same = np.flatnonzero(segments == segments[here])
    here = int(same[np.argmin(((centres[same] - centres[there]) ** 2).sum(1))])
    return [here, there]


def keep_blocks(item: Item, keep: np.ndarray) -> Item:
    """The item reduced to the blocks with keep [blocks] True, in their order.

    A torsion bond stays when both its atoms and some of those it moves do. Arrays made by noise must not be there yet.
    """
    keep_atoms = np.repeat(keep, item.block_lengths)
    changes: dict[str, Any] = {}
    for name, field in FIELDS.items():
        value = getattr(item, name)
        if value is None or field.level not in ("atom", "block"):
            continue
        mask = keep if field.level == "block" else keep_atoms
        changes[name] = value[mask] if isinstance(value, np.ndarray) else [v for v, k in zip(value, mask) if k]
    return item.with_(**changes, **_keep_torsions(item, keep_atoms))


def _keep_torsions(item: Item, keep_atoms: np.ndarray) -> dict[str, np.ndarray]:
    if item.tor_bonds is None or item.tor_moved is None or item.tor_moved_lengths is None or item.tor_depth is None:
        return {}
    number = np.cumsum(keep_atoms, dtype=np.int32) - np.int32(1)
    bond_of_moved = np.repeat(np.arange(len(item.tor_bonds)), item.tor_moved_lengths)
    n_moved = np.bincount(bond_of_moved[keep_atoms[item.tor_moved]], minlength=len(item.tor_bonds))
    keep = keep_atoms[item.tor_bonds].all(1) & (n_moved > 0)
    keep_moved = keep[bond_of_moved] & keep_atoms[item.tor_moved]
    return {
        "tor_bonds": number[item.tor_bonds[keep]].reshape(-1, 2),
        "tor_depth": item.tor_depth[keep],
        "tor_moved_lengths": n_moved[keep].astype(np.int32),
        "tor_moved": number[item.tor_moved[keep_moved]],
    }


def crop(item: Item, max_blocks: int, rng: np.random.Generator) -> Item:
    """At most `max_blocks` (2 or more) blocks of the item: those nearest to a random contact between the segments.

    Blocks keep their order, so arrays that run along them stay aligned; both segments stay.
    """
    if item.n_blocks <= max_blocks:
        return item
    centres = block_centres(item)
    contact = _random_contact(centres, item.segment_ids, rng)
    distance = ((centres - centres[contact].mean(0)) ** 2).sum(1)
    distance[contact] = -1.0
    keep = np.zeros(item.n_blocks, bool)
    keep[np.argpartition(distance, max_blocks - 1)[:max_blocks]] = True
    return keep_blocks(item, keep)
