"""The item: one interface as flat arrays, the record that everything between shards and batches works on."""

from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

import numpy as np

from configs.errors import DataError

Level = Literal["item", "atom", "block", "torsion", "moved", "masked"]


class Field(NamedTuple):
    """One documented array or value of an item.

    Attributes:
        level: what the first axis counts. `item`: one value an item; `moved`: atoms moved by torsions, ragged over
            torsions; `masked`: masked blocks.
        dtype: numpy dtype in memory and on disk; None for text.
        tail: shape behind the first axis (-1: any width, the same for all items of a data set).
        refers_to: "atom" where the values are atom indices of the item (collation shifts them).
        stored: written to shards; the others are made by noise while training.
    """

    level: Level
    dtype: np.dtype | None
    tail: tuple[int, ...] = ()
    refers_to: str = ""
    stored: bool = True


f32, i32, u16, u8, i8, b1 = (np.dtype(t) for t in ("f4", "i4", "u2", "u1", "i1", "?"))

# A new array or label is one row here and one attribute of Item below.
FIELDS: dict[str, Field] = {
    "id": Field("item", None),
    "group": Field("item", None),
    "modality": Field("item", i8),
    "label": Field("item", f32),
    "targets": Field("item", f32, (-1,)),
    "X": Field("atom", f32, (3,)),
    "A": Field("atom", u8),
    "atom_positions": Field("atom", u8),
    "B": Field("block", u16),
    "block_lengths": Field("block", i32),
    "segment_ids": Field("block", u8),
    "block_chain": Field("block", None),
    "block_resid": Field("block", i32),
    "block_icode": Field("block", None),
    "block_resname": Field("block", None),
    "block_embeddings": Field("block", f32, (-1,)),
    "tor_bonds": Field("torsion", i32, (2,), refers_to="atom"),
    "tor_depth": Field("torsion", u8),
    "tor_moved_lengths": Field("torsion", i32),
    "tor_moved": Field("moved", i32, refers_to="atom"),
    "noisy_segment": Field("item", u8, stored=False),
    "tr_eps": Field("item", f32, stored=False),
    "tr_score": Field("item", f32, (3,), stored=False),
    "rot_score": Field("item", f32, (3,), stored=False),
    "atom_eps": Field("item", f32, stored=False),
    "atom_score": Field("atom", f32, (3,), stored=False),
    "tor_score": Field("torsion", f32, stored=False),
    "masked_blocks": Field("block", b1, stored=False),
    "masked_labels": Field("masked", i32, stored=False),
}


@dataclass(frozen=True)
class Item:
    """One interface of two segments (or a single segment), without global nodes: collation adds those.

    Blocks of segment 0 come before those of segment 1; the atoms of a block are contiguous and in block order.
    Everything that is None is absent. Arrays have the dtypes of `FIELDS`.

    Attributes:
        id: unique within its data set.
        X: [atoms, 3] coordinates, Å. A: [atoms] atom types. atom_positions: [atoms] position codes (unused by models).
        B: [blocks] block types. block_lengths: [blocks] atoms a block. segment_ids: [blocks] 0 or 1.
        modality: index into `vocab.MODALITIES`. label: measured value or class number (NaN: none). group: unit for
            leak-free splits. targets: [targets] several measured values in place of one label (NaN: none).
        block_chain, block_resid, block_icode, block_resname: [blocks] where a block comes from in its file (author
            numbering).
        block_embeddings: [blocks, D] vectors from elsewhere (a protein language model, say).
        tor_bonds: [torsions, 2] atoms (p, q) of a rotatable bond; rotating turns the atoms behind q about p -> q.
        tor_depth: [torsions] 0 for bonds that no other bond moves, else one more than the deepest bond that moves it:
            bonds of equal depth move disjoint atoms, so a depth is turned in one vectorised step.
        tor_moved_lengths: [torsions] number of atoms each bond moves. tor_moved: [sum] those atoms, bond after bond.
        noisy_segment, tr_eps, tr_score, rot_score, atom_eps, atom_score, tor_score: what noise was applied
            (`data.noise`); once tor_score is set, tor_bonds holds the bonds of the loss only (those of the noised
            segment that are not inside a masked block).
        masked_blocks: [blocks]. masked_labels: [masked] mask class of each masked block, in block order.
    """

    id: str
    X: np.ndarray
    A: np.ndarray
    B: np.ndarray
    block_lengths: np.ndarray
    segment_ids: np.ndarray
    atom_positions: np.ndarray | None = None
    modality: int = -1
    label: float = float("nan")
    targets: np.ndarray | None = None
    group: str = ""
    block_chain: list[str] | None = None
    block_resid: np.ndarray | None = None
    block_icode: list[str] | None = None
    block_resname: list[str] | None = None
    block_embeddings: np.ndarray | None = None
    tor_bonds: np.ndarray | None = None
    tor_depth: np.ndarray | None = None
    tor_moved_lengths: np.ndarray | None = None
    tor_moved: np.ndarray | None = None
    noisy_segment: int | None = None
    tr_eps: float | None = None
    tr_score: np.ndarray | None = None
    rot_score: np.ndarray | None = None
    atom_eps: float | None = None
    atom_score: np.ndarray | None = None
    tor_score: np.ndarray | None = None
    masked_blocks: np.ndarray | None = None
    masked_labels: np.ndarray | None = None

    @property
    def n_atoms(self) -> int:
        return len(self.A)

    @property
    def n_blocks(self) -> int:
        return len(self.B)

    @property
    def block_of_atom(self) -> np.ndarray:
        """[atoms] block number of every atom."""
        return np.repeat(np.arange(self.n_blocks), self.block_lengths)

    @property
    def segment_of_atom(self) -> np.ndarray:
        """[atoms] segment number of every atom."""
        return np.repeat(self.segment_ids, self.block_lengths)

    def with_(self, **changes: Any) -> "Item":
        """A copy with some attributes replaced.

        Raises:
            TypeError: an attribute that items don't have.
        """
        if not changes.keys() <= FIELDS.keys():
            raise TypeError(f"an item has no {', '.join(sorted(changes.keys() - FIELDS.keys()))}")
        copy = object.__new__(Item)  # dataclasses.replace does the same several times slower, and this runs per item
        copy.__dict__.update(self.__dict__, **changes)
        return copy

    def counts(self) -> dict[str, int]:
        """Sizes of the axes named by `Level`."""
        none = np.zeros(0)
        return {
            "atom": self.n_atoms,
            "block": self.n_blocks,
            "torsion": 0 if self.tor_bonds is None else len(self.tor_bonds),
            "moved": len(none if self.tor_moved is None else self.tor_moved),
            "masked": len(none if self.masked_labels is None else self.masked_labels),
        }


assert set(FIELDS) == {f.name for f in fields(Item)}, "FIELDS and Item list the same names"


def check_item(item: Item) -> Item:
    """Check an item where it enters the system (made from a structure, imported, or handed over by a user); return it.

    Raises:
        DataError: naming the item and what is wrong with it.
    """
    counts = item.counts()
    for name, field in FIELDS.items():
        value = getattr(item, name)
        if value is None or field.level == "item":
            continue
        if len(value) != counts[field.level]:
            raise DataError(f"{name} has {len(value)} entries for {counts[field.level]} {field.level}s", item.id)
        if field.refers_to and len(value) and not 0 <= np.min(value) <= np.max(value) < counts[field.refers_to]:
            raise DataError(f"{name} points outside the {counts[field.refers_to]} {field.refers_to}s", item.id)
    if item.n_blocks == 0:
        raise DataError("has no blocks", item.id)
    if np.min(item.block_lengths) < 1 or int(np.sum(item.block_lengths)) != item.n_atoms:
        raise DataError(f"block_lengths must be positive and sum to the {item.n_atoms} atoms", item.id)
    if not np.isin(item.segment_ids, (0, 1)).all() or np.any(np.diff(np.asarray(item.segment_ids, int)) < 0):
        raise DataError("segment_ids must be 0 or 1, with segment 0 first", item.id)
    if not np.isfinite(item.X).all():
        raise DataError("X holds NaN or infinite coordinates", item.id)
    if item.tor_moved_lengths is not None and int(np.sum(item.tor_moved_lengths)) != counts["moved"]:
        raise DataError("tor_moved_lengths do not sum to the length of tor_moved", item.id)
    return item
