"""Structures to items for a trained model: the part of `data.inputs` that reads, in this process or in others."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from queue import Empty
from typing import Any, NamedTuple

import numpy as np
from joblib import cpu_count
from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from scipy.spatial import cKDTree

from configs.errors import DataError
from data.discover import discover
from data.failures import Failure
from data.index import Row, number_of, stem_of
from data.interface import Partner
from data.item import Item
from data.partners import ligand_names, listed, select_chains
from data.prepare import PrepareOptions, Task, process_row, process_with_structure
from data.structure import Structure, read_structure
from data.vocab import Vocabulary

SAME_ATOM = 2e-3  # Å; items keep coordinates as float32


class Read(NamedTuple):
    """An item, the line of its row in the index (0: none), its file and the names of its atoms in it."""

    item: Item
    line: int
    path: str
    atom_names: np.ndarray


def read_task(task: Task, root: Path, options: PrepareOptions) -> Iterator[Read | Failure]:
    """Items and failures of one structure file, which is read once.

    A row that names no second partner means the only interface of the file. Labels that are no numbers are left out.
    """
    names: AtomNames | None = None
    for done, structure in process_with_structure(task, root, options, make=item_of_row):
        if isinstance(done.result, Failure):
            yield done.result
            continue
        assert structure is not None
        names = names or AtomNames(structure)
        yield Read(done.result, done.place[0] if task.rows else 0, task.path, names(done.result))


def read_whole_task(task: Task, root: Path, options: PrepareOptions) -> list[Read | Failure]:
    """`read_task` for another process."""
    return list(read_task(task, root, options))


def read_one(path: str, row: Row | None, options: PrepareOptions) -> Iterator[Read | Failure]:
    """The interface of a structure file that a row names, or all that are found.

    Raises:
        LigareError: the file can't be read, or does not have what the row names (lists the chains or ligands it has),
            or no interface is found in it.
    """
    if row is None:
        found = [*read_task(Task(0, path, None), Path(), options)]
        if any(isinstance(result, Read) for result in found):
            yield from found
            return
    structure = read_structure(path, options.model)
    row = row or Row(0, pdb_id=stem_of(path), pdb_path=path)
    item = item_of_row(structure, row, options.load_vocabulary(), Path(), options.cutoff)
    yield Read(item, 0, path, AtomNames(structure)(item))


def item_of_row(structure: Structure, row: Row, vocabulary: Vocabulary, root: Path, cutoff: float) -> Item:
    """`process_row` for what needs no label, and rows that leave the second partner to be found."""
    row = replace(row, label=row.label if _is_number(row.label) else "", targets=())
    partners = None if row.chain2 or row.lig_code or row.ligand_path else only_interface(structure, row.chain1)
    return process_row(structure, row, vocabulary, root, cutoff, partners)


def _is_number(label: str) -> bool:
    try:
        number_of(label, "label")
    except DataError:
        return False
    return True


def only_interface(structure: Structure, chain1: str = "") -> tuple[Partner, Partner]:
    """The partners of the one interface of a structure, or of the one that has these chains on a side.

    Where no interface is found, two polymer chains are taken as partners whatever their contacts.

    Raises:
        StructureError: no such chain (lists those there are).
        DataError: no interface or several; lists what there is.
    """
    wanted = set(select_chains(structure, chain1).residues.tolist()) if chain1 else None
    found = []
    for one in discover(structure):
        sides = [set(partner.residues.tolist()) for partner in one.partners]
        if wanted is None or wanted in sides:
            found.append((one.name, one.partners if wanted != sides[1] else one.partners[::-1]))
    if len(found) == 1:
        return found[0][1]
    chains = list(dict.fromkeys(structure.chain[structure.polymer].tolist()))
    if found:
        names = listed([name for name, _ in found])
        what = f"has {len(found)} interfaces{f' of chain {chain1}' if chain1 else ''}, and no second partner is named"
        raise DataError(what, structure.path, "chain2", hint=f"name chain1 with chain2 or lig_code; found: {names}")
    if len(chains) == 2 and chain1 in ("", *chains):
        first = chain1 or chains[0]
        return select_chains(structure, first), select_chains(structure, chains[chains[0] == first])
    hint = f"its chains: {listed(structure.chains())}; its ligands: {listed(ligand_names(structure))}"
    raise DataError("no two partners are in contact", structure.path, hint=hint)


class AtomNames:
    """Names of the atoms of items in the structure that they were made from."""

    def __init__(self, structure: Structure) -> None:
        self.names = structure.name.astype("U8")
        self.tree = cKDTree(structure.X, balanced_tree=False)

    def __call__(self, item: Item) -> np.ndarray:
        """[atoms] names, "" for atoms that are not in the structure (those of a ligand file)."""
        distance, atom = self.tree.query(item.X, distance_upper_bound=SAME_ATOM)
        return np.where(np.isfinite(distance), self.names[np.minimum(atom, len(self.names) - 1)], "")


@contextmanager
def processes(n_jobs: int) -> Iterator[tuple[Callable[..., Any], int]]:
    """A function that hands a call to one of several processes and returns its future, and their number.

    The processes are this call's own: joblib keeps a pool for its own use, and fails where another has made it.

    Raises:
        DataError: a process was killed.
    """
    n = cpu_count() if n_jobs == -1 else n_jobs
    executor = ProcessPoolExecutor(max_workers=n)
    try:
        yield executor.submit, n
    except TerminatedWorkerError as killed:
        raise DataError("a process that reads structures was killed", hint="out of memory? try --n_jobs 1") from killed
    finally:
        with suppress(Empty):  # of calls that wait, whose numbers loky's thread would look for in vain
            while True:
                executor._work_ids.get_nowait()
        executor.shutdown(wait=False, kill_workers=True)
