"""The protein sequences of the structure files that items were made from."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from configs.errors import DataError, StructureError
from configs.reading import path_inside
from data.index import ALIASES
from data.residues import AMINO
from data.split_sequences import LETTERS, KnownChains
from data.structure import read_structure
from data.table import read_table, rows_of_items


def chains_of_structures(index: str | Path, root: str | Path, identifiers: Sequence[str]) -> KnownChains:
    """The residues with coordinates of every protein chain, in file order.

    Args:
        index: CSV that the items were made from, with their ids and `pdb_path` (or `path`, `protein_path`).
        root: folder of these paths. identifiers: ids of the items.

    Raises:
        DataError: an index without these columns or items. StructureError: a file can't be read; names index and item.
    """
    spellings = ("pdb_path", *ALIASES["pdb_path"])
    columns = read_table(index).columns
    column = next((name for name in spellings if name in columns), None)
    if column is None:
        raise DataError(f"lacks a column {' or '.join(spellings)}", index, hint=f"its columns: {', '.join(columns)}")
    paths = rows_of_items(index, identifiers, [column])[column].tolist()
    read = cache(lambda path: chains_of_file(path_inside(root, path, StructureError)))
    of_chain: dict[tuple[str, str], str] = {}
    for identifier, path in zip(identifiers, paths):
        try:
            chains = read(path)
        except StructureError as error:
            raise error.at(index, f"item {identifier}") from error
        of_chain |= {(path, chain): sequence for chain, sequence in chains.items()}
    return KnownChains(of_chain, paths, str(root))


def chains_of_file(path: Path) -> dict[str, str]:
    """Chain -> sequence of its amino acids that are part of a chain molecule."""
    structure = read_structure(path)
    found: dict[str, list[str]] = {}
    amino = structure.polymer & (structure.kind == AMINO)
    for chain, standard in zip(structure.chain[amino].tolist(), structure.standard[amino].tolist()):
        if standard in LETTERS:
            found.setdefault(chain, []).append(LETTERS[standard])
    return {chain: "".join(letters) for chain, letters in found.items()}
