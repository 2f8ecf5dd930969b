"""What a block is like: its class (aromatic, purine, ring fragment, metal, ...) and the kind of molecule it is from.

A symbol is enough: residues and nucleotides are listed, elements are metals or single atoms of a molecule, everything
else is the SMILES of a fragment, which is of a ring when it closes one or has aromatic atoms (of a ring that was cut).
"""

import re
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from configs.errors import DataError
from data.elements import is_metal
from data.item import Item
from data.vocab import ELEMENTS, SPECIAL

UNKNOWN_CLASS = "unknown"
RESIDUE_CLASSES: dict[str, str] = {
    **dict.fromkeys("GLY ALA VAL LEU ILE MET PRO".split(), "aliphatic"),
    **dict.fromkeys("PHE TRP TYR".split(), "aromatic"),
    **dict.fromkeys("SER THR CYS ASN GLN".split(), "polar"),
    **dict.fromkeys("LYS ARG HIS".split(), "positive"),
    **dict.fromkeys("ASP GLU".split(), "negative"),
    **dict.fromkeys("DA DG RA RG".split(), "purine"),
    **dict.fromkeys("DC DT RC RU".split(), "pyrimidine"),
    **dict.fromkeys("HOH WAT DOD".split(), "water"),
}
KIND_OF_CLASS: dict[str, str] = {
    UNKNOWN_CLASS: UNKNOWN_CLASS,
    **dict.fromkeys("aliphatic aromatic polar positive negative".split(), "protein"),
    **dict.fromkeys("purine pyrimidine".split(), "nucleic acid"),
    **dict.fromkeys(("ring fragment", "chain fragment", "single atom"), "small molecule"),
    "metal": "ion",
    "water": "water",
}
IN_RING = re.compile(r"[0-9%cnops](?![^\[]*\])|\[(?:[cnops]|se|as|te)")
"""The digit of a ring bond, which does not stand in brackets, or an aromatic atom, written small."""
CLASSES = tuple(KIND_OF_CLASS)
"""Classes of blocks; number 0 is what is not known."""
KINDS = tuple(dict.fromkeys(KIND_OF_CLASS.values()))
"""Kinds of molecule; number 0 is what is not known."""


def class_of_symbol(symbol: str) -> str:
    """Class of a block by its name; that of special blocks (padding, mask, unknown) is unknown."""
    if symbol in SPECIAL:
        return UNKNOWN_CLASS
    if symbol in RESIDUE_CLASSES:
        return RESIDUE_CLASSES[symbol]
    if symbol in ELEMENTS:
        return "metal" if is_metal(ELEMENTS.index(symbol) + 1) else "single atom"
    return "ring fragment" if IN_RING.search(symbol) else "chain fragment"


class BlockTaxonomy:
    """Classes and kinds of the block types of a vocabulary.

    Args:
        blocks: name of every block type, in index order (`Vocabulary.blocks`).

    Example:
        >>> taxonomy = BlockTaxonomy(load_vocabulary().blocks)
        >>> taxonomy.class_of("ARG"), taxonomy.modality_of("ARG")
        ('positive', 'protein')
    """

    def __init__(self, blocks: Sequence[str]) -> None:
        self.blocks = tuple(blocks)

    def class_of(self, symbol: str) -> str:
        """Class of a block by its name; one of `CLASSES`."""
        return class_of_symbol(symbol)

    def modality_of(self, symbol: str) -> str:
        """Kind of molecule that a block is from; one of `KINDS`."""
        return KIND_OF_CLASS[class_of_symbol(symbol)]

    @cached_property
    def classes(self) -> np.ndarray:
        """[block types] number in `CLASSES`."""
        return np.array([CLASSES.index(class_of_symbol(symbol)) for symbol in self.blocks], np.int64)

    @cached_property
    def kinds(self) -> np.ndarray:
        """[block types] number in `KINDS`."""
        return np.array([KINDS.index(self.modality_of(symbol)) for symbol in self.blocks], np.int64)

    def top_classes(self, item: Item, k: int = 5) -> list[list[tuple[str, float]]]:
        """The k most frequent classes of either segment with their share of its blocks, most frequent first.

        Raises:
            DataError: a block type that the vocabulary lacks.
        """
        if len(item.B) and int(np.max(item.B)) >= len(self.blocks):
            raise DataError(f"has block type {int(np.max(item.B))} of {len(self.blocks)}", item.id)
        found = []
        for segment in (0, 1):
            own = self.classes[np.asarray(item.B, int)[item.segment_ids == segment]]
            counts = np.bincount(own, minlength=len(CLASSES))
            order = np.argsort(-counts, kind="stable")[:k]
            found.append([(CLASSES[c], float(counts[c] / len(own))) for c in order.tolist() if counts[c]])
        return found
