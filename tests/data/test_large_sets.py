"""What a data set costs in memory does not depend on its size."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from item_factory import random_item

from benchmarks.scale import fresh, growth
from data.shards import ShardReader, write_part
from scripts.make_large_set import main

ROOT = Path(__file__).parents[2]
SMALL, LARGE = 5_000, 50_000


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("templates") / "shards"
    items = [random_item(number, n_blocks=4).with_(id=f"t{number}", label=float(number)) for number in range(20)]
    return write_part(folder, items, "fingerprint")


@pytest.fixture(scope="module")
def sets(templates: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("large")
    for size in (SMALL, LARGE):
        assert main([str(templates), "--out_path", str(folder / str(size)), "--n_items", str(size)]) == 0
    return {size: folder / str(size) for size in (SMALL, LARGE)}


def test_a_large_set_varies_its_templates(templates: Path, sets: dict[int, Path], tmp_path: Path) -> None:
    originals, made = ShardReader(templates), ShardReader(sets[SMALL])
    assert len(made) == len(set(made.ids)) == SMALL
    assert set(made.groups) == {f"like_{number:04d}" for number in range(20)}
    for item in made[::500]:
        original = originals[int(item.group.split("_")[1])]
        assert not np.array_equal(item.X, original.X)
        np.testing.assert_allclose(item.X, original.X, atol=0.5)
        np.testing.assert_array_equal(item.B, original.B)
        np.testing.assert_array_equal(item.tor_moved, original.tor_moved)
    assert main([str(templates), "--out_path", str(tmp_path / "again"), "--n_items", str(SMALL)]) == 0
    for file in made.manifest["files"]:
        assert (tmp_path / "again" / file["name"]).read_bytes() == (sets[SMALL] / file["name"]).read_bytes()


def test_memory_does_not_grow_with_the_set(sets: dict[int, Path]) -> None:
    def grown(what: str, size: int, **options: Any) -> float:
        found = fresh(what, data=str(sets[size]), **options)
        return found["after"]["own"] - found["before"]["own"]

    assert grown("opening", LARGE, training=False) - grown("opening", SMALL, training=False) < 4  # MiB
    plan = {"world": 4, "max_blocks": 100}
    assert grown("planning", LARGE, **plan) - grown("planning", SMALL, **plan) < 10
    read = fresh("reading", data=str(sets[LARGE]), items=LARGE // 4)
    assert LARGE // 4 <= read["items"] < LARGE // 3
    assert growth(read["memory"], "own") < 10


def test_items_are_mapped_when_they_are_asked_for(sets: dict[int, Path]) -> None:
    code = """
import json, sys
from data.shards import ShardReader
def mapped():
    lines = open("/proc/self/maps").read().splitlines()
    return sorted({line.split("/")[-1] for line in lines if sys.argv[1] in line})
reader = ShardReader(sys.argv[1], verify=False)
opened = mapped()
reader[len(reader) - 1]
print(json.dumps([opened, mapped()]))
"""
    command = [sys.executable, "-c", code, str(sets[LARGE])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    opened, later = json.loads(done.stdout)
    files = ShardReader(sets[LARGE], verify=False).manifest["files"]
    assert len(opened) == 1 and opened[0].startswith("counts-")
    assert set(later) == {*opened, files[-1]["name"]}


def test_what_can_not_be_made_is_refused(
    templates: Path, sets: dict[int, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([str(templates), "--out_path", str(out), "--most_blocks", "1"]) == 2
    assert "has no items of at most 1 blocks (raise --most_blocks)" in capsys.readouterr().err
    assert main([str(templates), "--out_path", str(out), "--n_items", str(10**12)]) == 2
    assert "GiB are free (lower --n_items or --most_blocks)" in capsys.readouterr().err
    assert main([str(templates), "--out_path", str(out), "--n_items", "0"]) == 2
    assert not out.exists()
    assert main([str(templates), "--out_path", str(sets[SMALL]), "--n_items", "10"]) == 2
    assert "holds a data set already" in capsys.readouterr().err
