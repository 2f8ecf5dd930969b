"""Reading in processes of their own, so that a crash, a hang or a flood of memory is seen and told."""

import gzip
import multiprocessing
import os
import resource
import signal
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from itertools import islice
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from joblib import cpu_count

from configs.errors import LigareError
from scripts.fuzzing.mutate import mutate
from scripts.fuzzing.soundness import index_faults, item_faults, known_coordinates, numbers_of, plain, structure_faults

FORMATS = {".cif": "mmcif", ".pdbx": "mmcif", ".sdf": "sdf", ".mol2": "mol2", ".csv": "csv"}  # others: pdb
BATCH = 20
CUTOFF = 8.0


class Source(NamedTuple):
    """A file to damage: its content, unpacked."""

    name: str
    format: str
    content: bytes


class Outcome(NamedTuple):
    """What became of a damaged file: item, refused, or a finding (wrong, unforeseen, unnamed, crash, hang)."""

    name: str
    format: str
    kind: str
    detail: str
    content: bytes


def read_sources(paths: Iterator[Path], max_bytes: int) -> list[Source]:
    """The files that are not larger than this, unpacked."""
    found = []
    for path in paths:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        if 0 < len(content) <= max_bytes:
            suffix = "." + path.name.removesuffix(".gz").rsplit(".", 1)[-1]
            found.append(Source(path.name, FORMATS.get(suffix, "pdb"), content))
    return found


def mutant(sources: Sequence[Source], seed: int, number: int) -> tuple[Source, bytes]:
    """Damaged file number `number`, and what it was. The same for the same seed."""
    rng = np.random.default_rng([seed, number])
    formats = sorted({source.format for source in sources})
    chosen = formats[int(rng.integers(len(formats)))]
    same = [source for source in sources if source.format == chosen]
    source, other = same[int(rng.integers(len(same)))], same[int(rng.integers(len(same)))]
    if rng.random() < 0.05:  # pieces of any other format
        other = sources[int(rng.integers(len(sources)))]
    content = mutate(source.content, other.content, rng)
    if rng.random() < 0.03:
        packed = gzip.compress(content, 1)
        content = mutate(packed, packed, rng) if rng.random() < 0.7 else packed
    return source, content


def judge(path: Path, source: Source, content: bytes) -> tuple[str, str]:
    """Read a damaged file as its format: kind of outcome, and a line about it."""
    try:
        faults = list(_read(path, source.format, content))
    except LigareError as error:
        named = path.name in str(error)
        return ("refused", "") if named else ("unnamed", f"{type(error).__name__}: {error}")
    except Exception:  # whatever else comes out is what this program looks for
        return "unforeseen", " | ".join(traceback.format_exc().strip().splitlines()[-3:])
    return ("wrong", faults[0]) if faults else ("item", "")


def _read(path: Path, format: str, content: bytes) -> Iterator[str]:
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, ValueError, gzip.zlib.error):  # type: ignore[attr-defined]
            content = b""
    if format == "csv":
        yield from _read_index(path, content)
    elif format in ("sdf", "mol2"):
        yield from _read_ligand(path, content)
    else:
        yield from _read_structure(path, content)


def _read_index(path: Path, content: bytes) -> Iterator[str]:
    from data.index import rows_of_index

    rows = rows_of_index(path)
    for row in rows:
        try:
            row.value()
        except LigareError:
            continue  # a label that is no number; the row alone is refused
    yield from index_faults(rows, plain(content).decode("utf-8-sig"))


def _read_ligand(path: Path, content: bytes) -> Iterator[str]:
    from data.ligand import split_ligand
    from data.ligand_files import ligand_from_file
    from data.vocab import load_vocabulary

    blocks = split_ligand(ligand_from_file(path), load_vocabulary())
    if (
        not len(blocks.A)
        or int(blocks.block_lengths.sum()) != len(blocks.A)
        or sorted(blocks.order) != [*range(len(blocks.A))]
    ):
        yield "blocks do not share out the atoms"
    elif not np.isfinite(blocks.X).all() or not known_coordinates(blocks.X, numbers_of(plain(content))):
        yield "a coordinate that the file does not hold"


def _read_structure(path: Path, content: bytes) -> Iterator[str]:
    from data.discover import discover
    from data.interface import make_interface
    from data.structure import read_structure
    from data.vocab import load_vocabulary

    structure, vocabulary = read_structure(path), load_vocabulary()
    yield from structure_faults(structure, content)
    for number, found in enumerate(discover(structure, additives=True)):
        if number == 4:
            return
        try:
            item = make_interface(structure, found.partners, vocabulary, CUTOFF, id="x", modality=found.modality)
        except LigareError:
            continue
        yield from item_faults(item, vocabulary, CUTOFF)
        if not known_coordinates(item.X, np.unique(np.round(structure.X, 3))):
            yield "an item with other coordinates than its structure"


def _work(pipe: Connection, sources: Sequence[Source], seed: int, memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_WRONLY)  # what libraries print about damaged files
    os.dup2(null, 1)
    os.dup2(null, 2)
    with tempfile.TemporaryDirectory() as folder:
        while (batch := pipe.recv()) is not None:
            for number in batch:
                source, content = mutant(sources, seed, number)
                path = Path(folder) / f"{number}-{source.name.removesuffix('.gz')}"
                path.write_bytes(content)
                pipe.send((number, "begun", "", ""))
                pipe.send((number, source.format, *judge(path, source, content)))
                path.unlink()


class _Worker:
    """A process, the numbers that it has still to do, and when it began the present one."""

    def __init__(self, sources: Sequence[Source], seed: int, memory: int) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("fork")
        self.process = context.Process(target=_work, args=(theirs, sources, seed, memory), daemon=True)
        self.process.start()
        theirs.close()
        self.waiting: list[int] = []
        self.since = time.monotonic()


def run_mutants(sources: Sequence[Source], options: Any) -> Iterator[Outcome]:
    """Damage and read `options.count` files, or as many as there is time for; `options`: those of the command."""
    ends = time.monotonic() + options.seconds
    numbers = iter(range(options.start, options.start + options.count))
    memory = int(options.memory * 2**30)
    workers = [
        _Worker(sources, options.seed, memory) for _ in range(cpu_count() if options.n_jobs == -1 else options.n_jobs)
    ]
    while workers:
        for worker in [w for w in workers if not w.waiting]:
            batch = list(islice(numbers, BATCH)) if time.monotonic() < ends else []
            worker.waiting, worker.since = batch, time.monotonic()
            worker.pipe.send(batch or None)
            if not batch:
                worker.process.join()
                workers.remove(worker)
        ready = wait([w.pipe for w in workers], timeout=1.0)
        for worker in list(workers):
            told = _hear(worker) if worker.pipe in ready else None
            if told is not None and told.kind != "begun":
                yield told._replace(**_case(sources, options.seed, told))
            late = time.monotonic() - worker.since > options.seconds_per_file
            dead = told is None and worker.pipe in ready
            if worker.waiting and (late or dead):
                number = worker.waiting.pop(0)
                worker.process.kill()
                worker.process.join()
                detail = f"exit code {worker.process.exitcode}" if dead else f"over {options.seconds_per_file:g} s"
                source, content = mutant(sources, options.seed, number)
                kind = "crash" if dead else "hang"
                yield Outcome(f"{number}-{source.name}", source.format, kind, detail, content)
                successor = _Worker(sources, options.seed, memory)
                workers[workers.index(worker)] = successor
                if worker.waiting:
                    successor.waiting = worker.waiting
                    successor.pipe.send(worker.waiting)


def _hear(worker: _Worker) -> Outcome | None:
    """The next message of a process; None: it is dead."""
    try:
        number, format, kind, detail = worker.pipe.recv()
    except (EOFError, ConnectionError):
        return None
    worker.since = time.monotonic()
    if format == "begun":
        return Outcome(str(number), "", "begun", "", b"")
    worker.waiting.remove(number)
    return Outcome(str(number), format, kind, detail, b"")


def _case(sources: Sequence[Source], seed: int, told: Outcome) -> dict[str, Any]:
    """Name and, of a finding, content of a damaged file."""
    if told.kind in ("item", "refused"):
        return {}
    source, content = mutant(sources, seed, int(told.name))
    return {"name": f"{told.name}-{source.name.removesuffix('.gz')}", "content": content}
