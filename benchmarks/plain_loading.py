"""Loading the plain way, to measure against: items as lists, bonds turned one by one, batches collated from lists.

The work is that of `data.noise.PretrainTransform` and `data.collate.collate_items`, random numbers drawn in the same
order, so that the same generator gives the same batch. Only how the work is done differs: it follows the habits of
published programs (a record of Python lists an item, a loop over blocks, a loop over bonds, a tensor made from lists).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from configs.schema import NoiseOptions
from data import wrapped_normal
from data.geometry import superposed
from data.igso3 import angle_grid
from data.item import Item
from data.noise import SMALLEST_SCALE
from data.vocab import ATOM_GLOBAL, ATOM_MASK, FIRST_ELEMENT, FIRST_MASKABLE, GLOBAL, MASK

Record = dict[str, Any]
"""An item as lists. blocks: [type, segment, atom types, atom positions, coordinates] each; torsions: [p, q, depth,
moved atoms] each; the rest as in `Item`."""


def record_of(item: Item) -> Record:
    """The item as nested lists (what a plain program keeps in its data file)."""
    blocks, start = [], 0
    X, A = item.X.tolist(), item.A.tolist()
    codes = [0] * item.n_atoms if item.atom_positions is None else item.atom_positions.tolist()
    for kind, segment, length in zip(item.B.tolist(), item.segment_ids.tolist(), item.block_lengths.tolist()):
        atoms = slice(start, start + length)
        blocks.append([kind, segment, A[atoms], codes[atoms], X[atoms]])
        start += length
    torsions, start = [], 0
    if item.tor_bonds is not None and item.tor_moved is not None:
        moved = item.tor_moved.tolist()
        depths, lengths = (np.asarray(a).tolist() for a in (item.tor_depth, item.tor_moved_lengths))
        for (p, q), depth, length in zip(item.tor_bonds.tolist(), depths, lengths):
            torsions.append([p, q, depth, moved[start : start + length]])
            start += length
    return {"id": item.id, "blocks": blocks, "torsions": torsions, "label": item.label, "modality": item.modality}


def noised(record: Record, noise: NoiseOptions, max_blocks: int, rng: np.random.Generator) -> Record:
    """Crop, rotate, shift, twist and mask one record."""
    record = cropped(record, max_blocks, rng)
    segment = chosen_segment(record, rng)
    start = sum(len(block[2]) for block in record["blocks"] if segment == 1 and block[1] == 0)
    X = np.array([x for block in record["blocks"] if block[1] == segment for x in block[4]])
    done: Record = {"noisy_segment": segment}
    if noise.rotation_noise:
        angle, score = angle_grid(noise.rotation_noise, noise.max_rotation).draw(rng)
        axis = rng.standard_normal(3)
        axis /= np.linalg.norm(axis)
        centre = X.mean(axis=0)
        X = (X - centre) @ rotation(axis, angle).T + centre
        done["rot_score"] = (score * axis).tolist()
    if noise.translation_noise:
        done["tr_eps"] = float(rng.uniform(min(SMALLEST_SCALE, noise.translation_noise), noise.translation_noise))
        direction = rng.standard_normal(3)
        X = X + done["tr_eps"] * direction
        done["tr_score"] = direction.tolist()
    if noise.torsion_noise:
        X, done["torsions"], done["tor_score"] = twisted(record, segment, start, X, noise.torsion_noise, rng)
    blocks, first = [], 0
    for kind, side, A, codes, old in record["blocks"]:
        if side != segment:
            blocks.append([kind, side, A, codes, old])
            continue
        blocks.append([kind, side, A, codes, X[first : first + len(A)].tolist()])
        first += len(A)
    record = {**record, **done, "blocks": blocks}
    return masked(record, noise.mask_proportion, rng) if noise.mask_proportion else record


def rotation(axis: np.ndarray, angle: float) -> np.ndarray:
    """[3, 3] matrix of a turn about an axis (Rodrigues)."""
    length = np.linalg.norm(axis)
    if length <= 1e-6:
        return np.eye(3)
    x, y, z = axis / length
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def cropped(record: Record, max_blocks: int, rng: np.random.Generator) -> Record:
    """The blocks nearest to a random contact."""
    blocks = record["blocks"]
    if len(blocks) <= max_blocks:
        return record
    centres = [np.mean(block[4], axis=0) for block in blocks]
    contact = [int(rng.integers(len(blocks)))]
    others = [i for i, block in enumerate(blocks) if block[1] != blocks[contact[0]][1]]
    if others:
        there = min(others, key=lambda i: np.sum((centres[i] - centres[contact[0]]) ** 2))
        same = [i for i, block in enumerate(blocks) if block[1] == blocks[contact[0]][1]]
        contact = [min(same, key=lambda i: np.sum((centres[i] - centres[there]) ** 2)), there]
    middle = np.mean([centres[i] for i in contact], axis=0)
    distance = [-1.0 if i in contact else np.sum((c - middle) ** 2) for i, c in enumerate(centres)]
    kept = set(sorted(range(len(blocks)), key=lambda i: distance[i])[:max_blocks])
    number: dict[int, int] = {}
    atom = 0
    for i, block in enumerate(blocks):
        for _ in block[2]:
            if i in kept:
                number[atom] = len(number)
            atom += 1
    torsions = []
    for p, q, depth, moved in record["torsions"]:
        left = [number[a] for a in moved if a in number]
        if p in number and q in number and left:
            torsions.append([number[p], number[q], depth, left])
    return {**record, "blocks": [block for i, block in enumerate(blocks) if i in kept], "torsions": torsions}


def chosen_segment(record: Record, rng: np.random.Generator) -> int:
    """A random segment; one of a single atom only when there is no other."""
    sizes: dict[int, int] = {}
    for block in record["blocks"]:
        sizes[block[1]] = sizes.get(block[1], 0) + len(block[2])
    present = sorted(sizes)
    candidates = [segment for segment in present if sizes[segment] > 1] or present
    return candidates[int(rng.integers(len(candidates)))]


def twisted(
    record: Record, segment: int, start: int, X: np.ndarray, deviation: float, rng: np.random.Generator
) -> tuple[np.ndarray, list, list[float]]:
    """Coordinates of the segment with every bond turned, one after another; its bonds, and their scores."""
    here = [torsion for torsion in record["torsions"] if start <= torsion[0] < start + len(X)]
    if not here:
        return X, [], []
    angles = rng.standard_normal(len(here)) * deviation
    after = X.copy()
    for i in sorted(range(len(here)), key=lambda i: here[i][2]):
        p, q, _, moved = here[i]
        atoms = [a - start for a in moved]
        origin, turn = after[p - start], rotation(after[q - start] - after[p - start], float(angles[i]))
        after[atoms] = origin + (after[atoms] - origin) @ turn.T
    types = [block[0] for block in record["blocks"] if block[1] == segment]
    if not any(FIRST_MASKABLE <= kind < FIRST_ELEMENT for kind in types):
        after = superposed(after, X)
    return after, here, wrapped_normal.score(angles, deviation).tolist()


def masked(record: Record, proportion: float, rng: np.random.Generator) -> Record:
    """A share of the blocks replaced by mask blocks of one atom; bonds inside them leave the loss."""
    blocks = record["blocks"]
    maskable = [i for i, block in enumerate(blocks) if block[0] >= FIRST_MASKABLE]
    if not maskable:
        return {**record, "masked": [False] * len(blocks), "masked_labels": []}
    chosen = set(rng.permutation(maskable)[: max(1, int(proportion * len(maskable)))].tolist())
    new, labels, number = [], [], []
    atoms = 0
    for i, block in enumerate(blocks):
        if i in chosen:
            labels.append(block[0] - FIRST_MASKABLE)
            new.append([MASK, block[1], [ATOM_MASK], [0], [np.mean(block[4], axis=0).tolist()]])
            number += [atoms] * len(block[2])
            atoms += 1
        else:
            new.append(block)
            number += list(range(atoms, atoms + len(block[2])))
            atoms += len(block[2])
    torsions, scores = [], []
    for (p, q, depth, moved), score in zip(record["torsions"], record["tor_score"]):
        if number[p] != number[q]:
            torsions.append([number[p], number[q], depth, moved])
            scores.append(score)
    changed = {"torsions": torsions, "tor_score": scores, "masked_labels": labels}
    return {**record, **changed, "blocks": new, "masked": [i in chosen for i in range(len(blocks))]}


def collated(records: Sequence[Record]) -> dict[str, torch.Tensor]:
    """One batch: a global block before every segment, everything appended to lists atom by atom."""
    names = "X A atom_positions B block_lengths segment_ids masked_blocks lengths tor_batch".split()
    out: dict[str, list] = {name: [] for name in names}
    bonds: list[list[int]] = []
    for graph, record in enumerate(records):
        number: list[int] = []
        segment, blocks = None, len(out["B"])
        for block, is_masked in zip(record["blocks"], record["masked"]):
            if block[1] != segment:
                segment = block[1]
                inside = [x for other in record["blocks"] if other[1] == segment for x in other[4]]
                _append(out, [GLOBAL, segment, [ATOM_GLOBAL], [0], [np.mean(inside, axis=0).tolist()]], False)
            number += range(len(out["A"]), len(out["A"]) + len(block[2]))
            _append(out, block, is_masked)
        for p, q, *_ in record["torsions"]:
            bonds.append([number[p], number[q]])
            out["tor_batch"].append(graph)
        out["lengths"].append(len(out["B"]) - blocks)
    batch = {name: torch.tensor(values) for name, values in out.items()}
    batch["X"] = batch["X"].float()
    batch["tor_edges"] = torch.tensor(bonds, dtype=torch.long).reshape(-1, 2).T.contiguous()
    for name in ("tor_score", "masked_labels"):
        batch[name] = torch.tensor([value for record in records for value in record[name]])
    for name in ("noisy_segment", "rot_score", "tr_eps", "tr_score", "label", "modality"):
        batch[name] = torch.tensor([record[name] for record in records])
    return batch


def _append(out: dict[str, list], block: list, is_masked: bool) -> None:
    kind, segment, A, codes, X = block
    out["B"].append(kind)
    out["segment_ids"].append(segment)
    out["block_lengths"].append(len(A))
    out["masked_blocks"].append(is_masked)
    for atom, code, position in zip(A, codes, X):
        out["A"].append(atom)
        out["atom_positions"].append(code)
        out["X"].append(position)
