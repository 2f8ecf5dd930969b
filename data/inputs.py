"""What a user hands to a trained model: a structure file, a folder of them, an index, or shards; as a stream of items.

Nothing here imports a structure reader before a structure is read, so that models may import this file.
"""

import argparse
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from configs.command import check_processes
from configs.errors import ConfigError, DataError
from configs.limits import add_limit_flags, use_limits
from data.failures import Failure
from data.index import Row, each_line_of_index, rows_of_index, stem_of, structure_files
from data.item import Item
from data.shard_files import MANIFEST
from data.shards import ShardReader, check_vocabulary
from data.vocab import Vocabulary, load_vocabulary

SELECTION = ("chain1", "chain2", "lig_code", "lig_resi", "lig_smiles", "ligand_path")
ROWS_A_TASK = 256  # of one structure file; more would be read at once by a worker
TASKS_AHEAD = 4  # for each process
Source = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class InputOptions:
    """What to read, and how interfaces are made of structures.

    Attributes:
        input: a structure file (PDB, mmCIF, plain or gzip), several, a folder of them, an index (CSV) or a folder of
            shards.
        chain1, chain2, lig_code, lig_resi, lig_smiles, ligand_path: the interface in every structure file, by the
            columns of the index (`data.index.Row`). None given: every interface that is found.
        root: folder of the paths in an index (default: that of the index).
        cutoff: largest heavy-atom distance of a block to the other side, Å. model: of a structure, counted from 0.
        keep_additives, keep_copies: find interfaces of crystallisation additives, and repeated ones, too.
        n_jobs: processes that read structures; -1: all cores.
    """

    input: Source
    chain1: str = ""
    chain2: str = ""
    lig_code: str = ""
    lig_resi: str = ""
    lig_smiles: str = ""
    ligand_path: str = ""
    root: Path | None = None
    cutoff: float = 8.0
    model: int = 0
    keep_additives: bool = False
    keep_copies: bool = False
    n_jobs: int = 1

    def __post_init__(self) -> None:
        check_processes(self.n_jobs)

    @property
    def selection(self) -> dict[str, Any]:
        """The columns of the index that are given by options."""
        return {name: str(getattr(self, name)) for name in SELECTION if getattr(self, name)}


@dataclass(frozen=True)
class InputItem:
    """An item, and where it comes from.

    Attributes:
        item: the interface. row: the input's own columns as text, see `Inputs.columns`.
        path: structure file ("": the item comes from shards).
        atom_names: [atoms] names in the structure file; "" for atoms of a ligand file, None for shards.
    """

    item: Item
    row: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    path: str = ""
    atom_names: np.ndarray | None = None

    @property
    def name(self) -> str:
        return self.item.id


class Inputs:
    """The items of an input, in its order, read while they are iterated over; rows that fail are told in `failures`.

    The length is that of the index or of the shards, or the number of structure files; rows that fail count, so there
    may be fewer items. There is none (TypeError) where the interfaces of a structure file have to be found.

    Attributes:
        kind: file, files (a list), folder, index or shards.
        columns: names of the input's own columns, which every `InputItem.row` has: those of an index, or `pdb_path`.
        failures: what gave no item, so far.
        vocabulary: of the block types.
    """

    def __init__(self, options: InputOptions, vocabulary: Vocabulary, vocabulary_name: str) -> None:
        self.options, self.vocabulary, self.vocabulary_name = options, vocabulary, vocabulary_name
        self.failures: list[Failure] = []
        self.kind = kind_of(options.input)
        self.columns: tuple[str, ...] = ("pdb_path",)
        self._values: dict[int, list[str]] = {}
        self._root = Path()
        self._tasks: list[tuple[str, tuple[Row, ...] | None]] = []
        self._reader: ShardReader | None = None
        if self.kind in ("index", "shards") and options.selection:
            name = next(iter(options.selection))
            hint = f"an index has a column {name}" if self.kind == "index" else "shards hold whole interfaces"
            raise ConfigError("is for structure files", f"--{name}", hint=hint)
        if self.kind == "shards":
            self._reader, self.columns = ShardReader(str(options.input)), ()
            check_vocabulary(self._reader, vocabulary.fingerprint)
        elif self.kind == "index":
            self._read_index(Path(str(options.input)))
        else:
            self._list_files()

    def _read_index(self, path: Path) -> None:
        self._root = self.options.root or path.parent
        rows = rows_of_index(path)
        lines = each_line_of_index(path)
        _, header = next(lines)
        places = [number for number, name in enumerate(header) if name]
        self.columns = tuple(header[place] for place in places)
        self._values = {line: [values[place] for place in places] for line, values in lines}
        for file, found in groupby(rows, key=lambda row: row.pdb_path):
            run = tuple(found)
            for start in range(0, len(run), ROWS_A_TASK):
                self._tasks.append((file, run[start : start + ROWS_A_TASK]))

    def _list_files(self) -> None:
        given = self.options.input
        if isinstance(given, (str, Path)):
            files = structure_files(given)
        else:
            files = [file for name in given for file in structure_files(name)]
        selection = self.options.selection
        for file in files:
            row = Row(line=0, pdb_id=stem_of(file), pdb_path=str(file), **selection) if selection else None
            self._tasks.append((str(file), None if row is None else (row,)))

    def __len__(self) -> int:
        if self._reader is not None:
            return len(self._reader)
        if any(rows is None for _, rows in self._tasks):
            raise TypeError("the number of interfaces is known when all structures have been read")
        return sum(len(rows or ()) for _, rows in self._tasks)

    def __bool__(self) -> bool:
        return True

    @property
    def total(self) -> int | None:
        """The length, or None where it is not known."""
        try:
            return len(self)
        except TypeError:
            return None

    def __iter__(self) -> Iterator[InputItem]:
        """The items.

        Raises:
            LigareError: of a single structure file, what is wrong with it; elsewhere that is a failure.
        """
        self.failures = []
        if self._reader is not None:
            yield from (InputItem(item) for item in self._reader)
            return
        for result in self._read():
            if isinstance(result, Failure):
                self.failures.append(result)
            else:
                item, line, path, names = result
                yield InputItem(item, self._row(line, path), path, names)

    def _row(self, line: int, path: str) -> dict[str, str]:
        if self.kind == "index":
            return dict(zip(self.columns, self._values[line]))
        return {"pdb_path": path}

    def _read(self) -> Iterator[Any]:
        """Results of the tasks in order, with a bounded number of them in memory."""
        from data import read_inputs as readers
        from data.prepare import PrepareOptions, Task

        how = PrepareOptions(
            cutoff=self.options.cutoff,
            vocabulary=self.vocabulary_name,
            model=self.options.model,
            additives=self.options.keep_additives,
            copies=self.options.keep_copies,
        )
        if self.kind == "file":
            path, rows = self._tasks[0]
            yield from readers.read_one(path, rows[0] if rows else None, how)
            return
        tasks: Iterable[Task] = (Task(number, path, rows) for number, (path, rows) in enumerate(self._tasks))
        if self.options.n_jobs == 1:
            for task in tasks:
                yield from readers.read_task(task, self._root, how)
            return
        waiting: deque[Any] = deque()
        with readers.processes(self.options.n_jobs) as (submit, n):
            for task in tasks:
                waiting.append(submit(readers.read_whole_task, task, self._root, how))
                if len(waiting) >= TASKS_AHEAD * n:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()


def open_inputs(options: InputOptions, vocabulary: str | None = "PS_300") -> Inputs:
    """Find out what the input is, and prepare to read it.

    Args:
        vocabulary: of the model that will see the items, `model.config.fragmentation_method`; see `load_vocabulary`.

    Raises:
        DataError: no such file or folder, a damaged index, or shards made with another vocabulary.
        ConfigError: options that don't fit the kind of input.
    """
    return Inputs(options, load_vocabulary(vocabulary), vocabulary or "none")


def kind_of(given: Source) -> str:
    """What an input is: file, files, folder, index or shards; DataError when it is not there."""
    if not isinstance(given, (str, Path)):
        return "files"
    path = Path(given)
    if path.is_dir():
        return "shards" if (path / MANIFEST).exists() else "folder"
    if not path.exists():
        raise DataError("no such file or folder", path)
    return "index" if path.suffix.lower() == ".csv" else "file"


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a command the options of `InputOptions`; the input itself comes first, or as --input."""
    group = parser.add_argument_group("input")
    what = "structure file (PDB, mmCIF; plain or gzip), folder of them, index CSV, or folder of shards"
    group.add_argument("data", nargs="?", metavar="INPUT", help=what)
    group.add_argument("--input", help="the same")
    group.add_argument("--chain1", default="", help="chains of side 1 of a structure, joined by _ (default: found)")
    group.add_argument("--chain2", default="", help="chains of side 2, or the chain of the ligand")
    group.add_argument("--lig_code", default="", help="residue name of the ligand that is side 2")
    group.add_argument("--lig_resi", default="", help="its residue number, with insertion code")
    group.add_argument("--lig_smiles", default="", help="its SMILES, for the bonds")
    group.add_argument("--ligand_path", default="", metavar="FILE", help="SDF or MOL2 file with the ligand as side 2")
    group.add_argument("--root", type=Path, help="folder of the paths in an index (default: that of the index)")
    group.add_argument("--cutoff", type=float, default=8.0, help="Å between heavy atoms of the sides (default 8)")
    group.add_argument("--model", type=int, default=0, help="model of each structure, counted from 0 (default 0)")
    group.add_argument("--keep_additives", action="store_true", help="find interfaces of glycerol, sulfate, ... too")
    group.add_argument("--keep_copies", action="store_true", help="find repeated interfaces, too")
    group.add_argument("--n_jobs", type=int, default=1, help="processes that read structures (default 1; -1: all)")
    add_limit_flags(parser, "max_file_size", "max_unpacked_size", "max_atoms", "allow_outside_root")


def input_options(given: argparse.Namespace) -> InputOptions:
    """The options of `add_input_arguments`, put in force; ConfigError when there is no input, or two."""
    use_limits(given)
    if (given.data is None) == (given.input is None):
        raise ConfigError("name one input", "--input", hint="a structure file, a folder, an index CSV or shards")
    others = {name: getattr(given, name) for name in InputOptions.__dataclass_fields__ if name != "input"}
    return InputOptions(input=given.data or given.input, **others)
