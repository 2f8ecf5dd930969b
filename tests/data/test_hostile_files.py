"""Files of data made to do harm: refused by name, and nothing of what they name is executed."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from item_factory import random_item

from configs.cli import read_yaml
from configs.errors import LigareError
from configs.files import read_json, sha256_of, write_json
from data.import_published import import_files
from data.index import rows_of_index
from data.ligand_files import ligand_from_file
from data.shards import MANIFEST, ShardReader, write_part
from data.structure import read_structure
from data.table import read_table
from data.vocab import load_vocabulary


class Exploit:
    """Pickled, it makes a file where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def imported(path: Path) -> None:
    import_files([path], path.parent / "out", load_vocabulary("PS_300"))


def json_object(path: Path, marker: Path) -> None:
    path.write_text(json.dumps({"py/object": f"os.system('touch {marker}')"}))


def packed_pickle(path: Path, marker: Path) -> None:
    pq.write_table(pa.table({"X": [pickle.dumps(Exploit(marker))]}), path)


def tagged(marker: Path) -> str:
    return f"x: !!python/object/apply:os.system ['touch {marker}']"


def object_array(path: Path, marker: Path) -> None:
    np.savez(path, X=np.array([Exploit(marker)], object))


# Name of the file, what writes it, and what would read it by default.
HOSTILE: dict[str, tuple[Callable[[Path, Path], Any], Callable[[Path], Any]]] = {
    "a.pkl": (lambda path, marker: path.write_bytes(pickle.dumps(Exploit(marker))), imported),
    "b.pickle": (lambda path, marker: path.write_bytes(pickle.dumps([{"X": Exploit(marker)}], 0)), imported),
    "c.npz": (object_array, imported),
    "d.jsonl": (json_object, imported),
    "e.parquet": (packed_pickle, imported),
    "f.yaml": (lambda path, marker: path.write_text(tagged(marker)), read_yaml),
    "g.json": (lambda path, marker: path.write_text(tagged(marker)), read_json),
    "h.json": (lambda path, marker: path.write_bytes(pickle.dumps(Exploit(marker))), lambda p: load_vocabulary(str(p))),
    "i.pdb": (lambda path, marker: path.write_bytes(pickle.dumps(Exploit(marker))), read_structure),
    "j.cif": (lambda path, marker: path.write_text(f"data_x\n_x\n;\n$(touch {marker})\n;\n"), read_structure),
    "k.sdf": (lambda path, marker: path.write_bytes(pickle.dumps(Exploit(marker), 0)), ligand_from_file),
    "l.csv": (lambda path, marker: path.write_bytes(pickle.dumps(Exploit(marker), 0)), rows_of_index),
    "m.csv": (lambda path, marker: path.write_bytes(pickle.dumps(Exploit(marker))), read_table),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_that_a_file_names_is_executed(tmp_path: Path, name: str) -> None:
    make, read = HOSTILE[name]
    marker = tmp_path / "executed"
    make(tmp_path / name, marker)
    with pytest.raises(LigareError, match=name):
        read(tmp_path / name)
    assert not marker.exists()
    assert not (tmp_path / "out" / MANIFEST).exists()


def test_the_exploit_is_a_real_one(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Exploit(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return write_part(tmp_path / "shards", [random_item(i).with_(id=f"i{i}") for i in range(3)])


def sign(folder: Path) -> None:
    """Sizes and checksums as they are now: the damage is done on purpose."""
    manifest = read_json(folder / MANIFEST)
    for entry in (manifest["counts"], *manifest["files"]):
        path = folder / entry["name"]
        entry |= {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
    write_json(folder / MANIFEST, manifest)


def test_crafted_shards_with_right_checksums_give_a_typed_error_or_arrays_that_fit(shards: Path) -> None:
    path = next(shards.glob("items-*.arrow"))
    content, outcomes = path.read_bytes(), set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        damaged = bytearray(content)
        place = int(rng.integers(len(content) - 8))
        damaged[place : place + 8] = rng.choice([2**62, 2**31 - 1, -1, 0, 10**18]).astype(np.int64).tobytes()
        path.write_bytes(bytes(damaged))
        sign(shards)
        try:
            for item in ShardReader(shards):
                assert len(item.A) == len(item.X) == int(np.sum(item.block_lengths, dtype=np.int64))
                assert len(item.B) == len(item.segment_ids) == len(item.block_lengths)
            outcomes.add("read")
        except LigareError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize("name", ["../secret.arrow", "/etc/passwd", "sub/items.arrow", "..", ".", ""])
def test_a_manifest_names_no_files_elsewhere(shards: Path, name: str) -> None:
    manifest = read_json(shards / MANIFEST)
    manifest["files"][0]["name"] = name
    write_json(shards / MANIFEST, manifest)
    with pytest.raises(LigareError, match=r"lists a file it can't have written|is no regular file"):
        ShardReader(shards)


def test_a_pipe_in_place_of_a_shard_does_not_stop_the_reader(shards: Path) -> None:
    manifest = read_json(shards / MANIFEST)
    path = shards / manifest["files"][0]["name"]
    path.unlink()
    os.mkfifo(path)
    manifest["files"][0]["bytes"] = 0
    write_json(shards / MANIFEST, manifest)
    with pytest.raises(LigareError, match="is no regular file"):
        ShardReader(shards)
