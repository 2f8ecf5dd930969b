"""Rows of an index, or structure files without one, to items; the work of one process.

`scripts/process_pdbs.py` runs this on many processes through `data.prepare_parallel`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from configs.errors import ConfigError, DataError, LigareError
from configs.reading import path_inside
from data.blocks import ligand_file_blocks
from data.discover import discover
from data.failures import Failure
from data.index import Row, stem_of
from data.interface import CUTOFF, Partner, make_interface
from data.item import Item
from data.ligand import split_ligand
from data.ligand_files import ligand_from_file
from data.partners import check_one_site, find_modality, name_modality, select_chains, select_ligand
from data.structure import Structure, read_structure
from data.vocab import Vocabulary, load_vocabulary

# What RDKit, numpy and SciPy raise on input that nobody foresaw; a batch of a million files must survive it.
UNFORESEEN = (ValueError, RuntimeError, LookupError, ArithmeticError, TypeError, MemoryError)


@dataclass(frozen=True)
class PrepareOptions:
    """How interfaces are made.

    Attributes:
        cutoff: largest heavy-atom distance of a block to the other side, Å.
        vocabulary: `PS_300`, `none` (every ligand atom a block) or the JSON file of a learned one.
        model: which model of a structure, counted from 0.
        additives, copies: of `data.discover.discover`, without an index.
    """

    cutoff: float = CUTOFF
    vocabulary: str = "PS_300"
    model: int = 0
    additives: bool = False
    copies: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.cutoff < 1000:
            raise ConfigError(f"must be a distance in Å above 0, got {self.cutoff}", "--cutoff")
        if self.model < 0:
            raise ConfigError(f"must be 0 or more, got {self.model}", "--model")

    def load_vocabulary(self) -> Vocabulary:
        """The vocabulary named by the options; DataError when there is none of that name."""
        return load_vocabulary(self.vocabulary)


class Task(NamedTuple):
    """The work on one structure file: rows of an index (None: find its interfaces).

    `number` is the place of the file among those given; items are ordered by line, or else by it.
    """

    number: int
    path: str
    rows: tuple[Row, ...] | None


class Done(NamedTuple):
    """An item or a failure, with its place in the output."""

    place: tuple[int, int]
    result: Item | Failure


def process_row(
    structure: Structure,
    row: Row,
    vocabulary: Vocabulary,
    root: Path = Path(),
    cutoff: float = CUTOFF,
    partners: tuple[Partner, Partner] | None = None,
) -> Item:
    """The item of one row of an index.

    Args:
        partners: the two sides, where they are known already; otherwise those that the row names.

    Raises:
        LigareError: what the row asks for is not there or makes no interface; the message says what and where.
    """
    partners = partners or partners_of_row(structure, row, vocabulary, root)
    modality = name_modality(row.modality) if row.modality else find_modality(structure, partners)
    item = make_interface(
        structure,
        partners,
        vocabulary,
        cutoff,
        id=row.pdb_id,
        modality=modality,
        label=row.value(),
        group=row.group or stem_of(row.pdb_path),
    )
    targets = row.values()
    return item if targets is None else item.with_(targets=targets)


def partners_of_row(
    structure: Structure, row: Row, vocabulary: Vocabulary, root: Path = Path()
) -> tuple[Partner, Partner]:
    """The two sides that a row names."""
    if row.ligand_path:
        molecule = ligand_from_file(path_inside(root, row.ligand_path) if row.line else root / row.ligand_path)
        blocks = ligand_file_blocks(split_ligand(molecule, vocabulary))
        return select_chains(structure, row.chain1), Partner(f"ligand {Path(row.ligand_path).name}", blocks=blocks)
    if row.lig_code:
        ligand = select_ligand(structure, row.lig_code, row.lig_resi, row.chain2, row.lig_smiles)
        first = select_chains(structure, row.chain1)
        first = Partner(first.name, np.setdiff1d(first.residues, ligand.residues))
        if not row.lig_resi:
            check_one_site(structure, first, ligand)
        return first, ligand
    if not row.chain2:
        raise DataError("names no second partner", "chain2", hint="fill chain2, lig_code or ligand_path")
    smiles = row.lig_smiles or None
    return select_chains(structure, row.chain1, smiles), select_chains(structure, row.chain2, smiles)


def process_task(task: Task, root: Path, options: PrepareOptions) -> Iterator[Done]:
    """Items and failures of one structure file, which is read once."""
    return (done for done, _ in process_with_structure(task, root, options))


def process_with_structure(
    task: Task, root: Path, options: PrepareOptions, make: Callable[..., Item] = process_row
) -> Iterator[tuple[Done, Structure | None]]:
    """What `process_task` gives, with the structure that was read (None: it could not be).

    Args:
        make: gives the item of a row, with the arguments and errors of `process_row`.
    """
    vocabulary = options.load_vocabulary()
    rows = task.rows
    try:
        if not task.path:
            raise DataError("names no structure file", "pdb_path")
        of_index = any(row.line for row in rows or ())  # other paths are those that the user gave or a folder has
        structure = read_structure(path_inside(root, task.path) if of_index else root / task.path, options.model)
    except (LigareError, *UNFORESEEN) as error:
        for row in rows or [None]:
            yield Done(_place(task, row, 0), _failure(task, row, error)), None
        return
    if rows is None:
        yield from ((done, structure) for done in _discovered(task, structure, vocabulary, options))
        return
    for row in rows:
        try:
            result: Item | Failure = make(structure, row, vocabulary, root, options.cutoff)
        except (LigareError, *UNFORESEEN) as error:
            result = _failure(task, row, error)
        yield Done(_place(task, row, 0), result), structure


def refused_task(task: Task, reason: str) -> Iterator[Done]:
    """The failures of a structure file that isn't tried."""
    for row in task.rows or [None]:
        yield Done(_place(task, row, 0), _failure(task, row, DataError(reason, task.path)))


def _place(task: Task, row: Row | None, number: int) -> tuple[int, int]:
    return (task.number, number) if row is None else (row.line, 0)


def _failure(task: Task, row: Row | None, error: BaseException, name: str = "") -> Failure:
    reason = str(error) if isinstance(error, LigareError) else f"unforeseen {type(error).__name__}: {error}"
    if isinstance(error, MemoryError):
        reason = f"{task.path}: needs more memory than a process may have (--memory_per_process)"
    reason = " ".join(reason.split())
    if row is None:
        return Failure(task.path, "", name, "", reason)
    return Failure(task.path, str(row.line), row.pdb_id, row.modality, reason)


def _discovered(task: Task, structure: Structure, vocabulary: Vocabulary, options: PrepareOptions) -> Iterator[Done]:
    stem = stem_of(task.path)
    found = discover(structure, options.additives, options.copies)
    if not found:
        error = DataError("no two partners are in contact", task.path, hint="additives count with --keep_additives")
        yield Done((task.number, 0), _failure(task, None, error))
    for number, (name, partners, modality) in enumerate(found):
        name = f"{stem}_{name}"
        try:
            result: Item | Failure = make_interface(
                structure, partners, vocabulary, options.cutoff, id=name, modality=modality, group=stem
            )
        except (LigareError, *UNFORESEEN) as error:
            result = _failure(task, None, error, name)
        yield Done((task.number, number), result)


def items_of_file(source: Any, **options: Any) -> list[Item]:
    """Every interface of a structure file (or Biopython `Structure`), found by itself.

    Options are those of `PrepareOptions`.

    Raises:
        StructureError: the file can't be read. InterfaceError: an interface that was found can't be made.
    """
    chosen = PrepareOptions(**options)
    structure = read_structure(source, chosen.model)
    vocabulary, stem = chosen.load_vocabulary(), stem_of(structure.path)
    return [
        make_interface(
            structure, partners, vocabulary, chosen.cutoff, id=f"{stem}_{name}", modality=modality, group=stem
        )
        for name, partners, modality in discover(structure, chosen.additives, chosen.copies)
    ]


def tasks_of_rows(rows: Sequence[Row]) -> list[Task]:
    """One task a structure file, in the order in which the index first names it."""
    by_file: dict[str, list[Row]] = {}
    for row in rows:
        by_file.setdefault(row.pdb_path, []).append(row)
    return [Task(number, path, tuple(found)) for number, (path, found) in enumerate(by_file.items())]


def tasks_of_files(files: Sequence[Path], root: Path) -> list[Task]:
    """One task a structure file without an index."""
    return [Task(number, str(path.relative_to(root)), None) for number, path in enumerate(files)]
