"""An atlas finds what an exact search finds, grows as a whole or not at all, and mixes nothing."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

pytest.importorskip("faiss", reason="needs ligare[atlas]")

from configs.errors import ConfigError, DataError
from data.atlas import Atlas, Origin, Rows
from data.atlas_add import add
from data.atlas_filter import allowed_by, meets
from data.atlas_map import FEWEST, METHODS, Method, flattened
from data.atlas_network import nearest_others, network, purity

ORIGIN = Origin("h_graph", "model")


def rows(start: int, stop: int, width: int = 6) -> Rows:
    vectors = np.stack([np.random.default_rng(n).normal(size=width) for n in range(start, stop)]).astype(np.float32)
    kinds = ["PP" if n % 3 else "PL" for n in range(start, stop)]
    label = [str(n) for n in range(start, stop)]
    return Rows([f"i{n}" for n in range(start, stop)], vectors, {"modality": kinds, "label": label})


def test_what_is_found_is_what_comparing_with_all_gives(tmp_path: Path) -> None:
    for start in range(0, 90, 30):
        atlas, written = add(tmp_path / "a", ORIGIN, rows(start, start + 30))
        assert (written, len(atlas)) == (30, start + 30)
    every = rows(0, 90).vectors
    every /= np.linalg.norm(every, axis=1, keepdims=True)
    ask = rows(200, 205).vectors * 7
    cosines = ask @ every.T / np.linalg.norm(ask, axis=1, keepdims=True)
    found, similarity = atlas.search(ask, 4)
    order = np.argsort(-cosines, axis=1)[:, :4]
    assert [[atlas.ids[n] for n in row] for row in found] == [[f"i{n}" for n in row] for row in order]
    np.testing.assert_allclose(similarity, np.take_along_axis(cosines, order, 1), atol=1e-6)
    allowed = allowed_by(atlas, ["modality=PL", "label>=30"])
    assert allowed is not None
    found, _ = atlas.search(ask, 50, allowed)
    assert {atlas.ids[n] for n in found[0] if n >= 0} == {f"i{n}" for n in range(30, 90, 3)}


def test_many_small_additions_make_few_parts_and_lose_nothing(tmp_path: Path) -> None:
    for n in range(40):
        atlas, _ = add(tmp_path / "a", ORIGIN, rows(n, n + 1))
    assert len(atlas.listed["parts"]) <= 6
    assert atlas.ids == [f"i{n}" for n in range(40)]
    assert len(list((tmp_path / "a").glob("*.faiss"))) == len(atlas.listed["parts"])


def test_known_ids_are_refused_replaced_or_skipped(tmp_path: Path) -> None:
    before, _ = add(tmp_path / "a", ORIGIN, rows(0, 10))
    other = Rows(["i3", "new"], rows(50, 52).vectors, {"modality": ["X", "Y"], "more": ["1", "2"]})
    with pytest.raises(DataError, match="has 1 of 2 ids already, 'i3' is one"):
        add(tmp_path / "a", ORIGIN, other)
    assert Atlas(tmp_path / "a").listed == before.listed
    skipped, written = add(tmp_path / "a", ORIGIN, other, "skip")
    assert (written, len(skipped), skipped.facts(skipped.place_of("i3"))["modality"]) == (1, 11, "PL")
    replaced, written = add(tmp_path / "a", ORIGIN, other, "replace")
    assert (written, len(replaced)) == (2, 11)
    assert replaced.facts(replaced.place_of("i3")) == {"modality": "X", "label": "", "more": "1"}
    (place,), _ = replaced.search(other.vectors[:1], 1)
    assert replaced.ids[place[0]] == "i3"
    assert before.facts(3)["modality"] == "PL"  # one that is open stays as it was
    assert len(before.search(other.vectors[:1], 3)[0][0]) == 3


@pytest.mark.parametrize(
    ("origin", "width", "said"),
    [
        (Origin("h_graph", "another"), 6, r"made by another model \(checksum model, this one has another\)"),
        (Origin("h_interface", "model"), 6, "holds vectors of representation h_graph, these are of h_interface"),
        (ORIGIN, 5, "holds vectors of 6 numbers, these have 5"),
    ],
)
def test_vectors_of_other_origin_or_width_are_refused(origin: Origin, width: int, said: str, tmp_path: Path) -> None:
    add(tmp_path / "a", ORIGIN, rows(0, 4))
    with pytest.raises(DataError, match=said):
        add(tmp_path / "a", origin, rows(10, 14, width))
    assert len(Atlas(tmp_path / "a")) == 4


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_vectors_without_a_direction_are_refused_and_leave_no_folder(value: float, tmp_path: Path) -> None:
    bad = rows(0, 4)
    bad.vectors[2] = value
    with pytest.raises(DataError, match="vector, i2: is zero, NaN or infinite"):
        add(tmp_path / "a", ORIGIN, bad)
    assert not list(tmp_path.iterdir())


def test_two_rows_of_one_id_another_folder_and_a_second_build_are_refused(tmp_path: Path) -> None:
    twice = Rows(["x", "x"], rows(0, 2).vectors, {})
    with pytest.raises(DataError, match="'x' comes 2 times"):
        add(tmp_path / "a", ORIGIN, twice)
    (tmp_path / "other").mkdir()
    for name in ("rows-00000.parquet", "file"):  # the first alone could be of a killed build, had that left its lock
        (tmp_path / "other" / name).touch()
        with pytest.raises(DataError, match="is no atlas, and not empty"):
            add(tmp_path / "other", ORIGIN, rows(0, 2))
    add(tmp_path / "a", ORIGIN, rows(0, 2))
    with FileLock(tmp_path / "a" / ".lock"):
        caught: list[Exception] = []

        def build() -> None:
            try:
                add(tmp_path / "a", ORIGIN, rows(2, 4))
            except DataError as error:
                caught.append(error)

        thread = threading.Thread(target=build)
        thread.start()
        thread.join()
    assert "another build is at work" in str(caught[0])


KILLED = """
import os, signal, sys
import data.atlas_add as adding
from tests.data.test_atlas import ORIGIN, rows

moment, n = sys.argv[2], [0]
def dying(function, before):
    def call(*given, **named):
        n[0] += 1
        if before:
            os.kill(os.getpid(), signal.SIGKILL)
        function(*given, **named)
        os.kill(os.getpid(), signal.SIGKILL)
    return call

if moment == "rows half written":
    adding.pq.write_table = dying(adding.pq.write_table, before=False)
elif moment == "vectors half written":
    adding.sha256_of = dying(adding.sha256_of, before=True)
else:
    adding.write_json = dying(adding.write_json, before=moment == "before the list")
adding.add(sys.argv[1], ORIGIN, rows(int(sys.argv[3]), int(sys.argv[3]) + 5))
"""


@pytest.mark.parametrize("moment", ["rows half written", "vectors half written", "before the list", "after the list"])
@pytest.mark.parametrize("before", [0, 30])
def test_a_killed_build_adds_all_or_nothing_and_the_next_one_works(moment: str, before: int, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    if before:
        add(folder, ORIGIN, rows(0, before))
    command = [sys.executable, "-c", KILLED, str(folder), moment, str(before)]
    assert subprocess.run(command, cwd=Path(__file__).parents[2], check=False).returncode == -signal.SIGKILL
    there = before + 5 if moment == "after the list" else before
    if there:
        assert Atlas(folder).ids == [f"i{n}" for n in range(there)]
    else:
        with pytest.raises(DataError, match="is no atlas"):
            Atlas(folder)
    atlas, _ = add(folder, ORIGIN, rows(50, 53))
    assert atlas.ids == [f"i{n}" for n in (*range(there), *range(50, 53))]
    in_use = {name for part in atlas.listed["parts"] for name in part["sha256"]}
    assert {path.name for path in folder.iterdir()} == in_use | {"atlas.json", ".lock"}


def test_no_rows_make_no_atlas(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no rows to add"):
        add(tmp_path / "a", ORIGIN, Rows([], np.zeros((0, 6), np.float32), {}))
    assert not list(tmp_path.iterdir())


def test_an_atlas_of_one_row_is_searched(tmp_path: Path) -> None:
    atlas, _ = add(tmp_path / "a", ORIGIN, rows(0, 1))
    places, cosines = atlas.search(rows(0, 1).vectors, 3)
    assert places.tolist() == [[0, -1, -1]] and cosines[0, 0] == pytest.approx(1) and np.isneginf(cosines[0, 1:]).all()
    assert (len(network(atlas, 3)), network(atlas, 3).number_of_edges()) == (1, 0)
    (found,) = purity(atlas, ["modality"])
    assert np.isnan([found.same, found.chance]).all()
    for many in (0, 1, 4):
        with pytest.raises(DataError, match=f"5 rows or more, and this would be one of {many}"):
            flattened(rows(0, 5).vectors[:many], "pca")


@pytest.mark.parametrize("method", [pytest.param(m, marks=[pytest.mark.slow] * (m == "umap")) for m in METHODS])
def test_a_map_of_fewer_rows_than_neighbours_has_a_place_for_each(method: Method) -> None:
    if method == "umap":
        pytest.importorskip("umap", reason="needs ligare[map]")
    for n in (FEWEST, 9):
        places = flattened(rows(0, n).vectors, method, neighbours=15)
        assert places.shape == (n, 2) and np.isfinite(places).all()
        assert len(np.unique(places, axis=0)) == n


@pytest.mark.parametrize("name", ["rows-00000.parquet", "vectors-00000.faiss", "atlas.json"])
def test_damage_is_found_before_anything_is_read(name: str, tmp_path: Path) -> None:
    add(tmp_path / "a", ORIGIN, rows(0, 4))
    path = tmp_path / "a" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        Atlas(tmp_path / "a")


def test_conditions_compare_numbers_as_numbers() -> None:
    assert meets("10", ">", "9") and meets("1.0", "=", "1") and meets("PP", "!=", "PL")
    assert not meets("PP", "<", "9") and not meets("", ">=", "0")


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        (["modality"], "'modality' is no condition"),
        (["modalty=PP"], "did you mean 'modality'"),
        (["modality=X"], r"no row of 4 has modality=X \(the commonest values of modality: PL \(2\), PP \(2\)\)"),
        (["modality=pp"], "did you mean 'PP'"),
        (["label>=1", "label=7", "label=1"], r"has label>=1 and label=7 \(label goes from 1 to 3\)"),
        (["modality=PP", "label=0"], r"modality=PP and label=0 \(label goes from 1 to 2\)"),
        (["label=none"], r"the commonest values of label: 0 \(1\)"),
    ],
)
def test_conditions_that_can_not_hold_are_told(conditions: list[str], said: str, tmp_path: Path) -> None:
    atlas, _ = add(tmp_path / "a", ORIGIN, rows(0, 4))
    with pytest.raises(ConfigError, match=said):
        allowed_by(atlas, conditions)


def test_a_network_joins_nearest_nodes_and_marks_mutual_ones(tmp_path: Path) -> None:
    angles = np.deg2rad([0, 10, 25, 90])
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    atlas, _ = add(tmp_path / "a", ORIGIN, Rows(list("abcd"), vectors, {"family": ["1", "1", "2", ""]}))
    graph = network(atlas, 1)
    assert {tuple(sorted(edge)): graph.edges[edge]["mutual"] for edge in graph.edges} == {
        ("a", "b"): True,
        ("b", "c"): False,
        ("c", "d"): False,
    }
    families = network(atlas, 1, node="family")
    assert dict(families.nodes(data="interfaces")) == {"1": 2, "2": 1}
    assert families.edges["1", "2"]["weight"] == pytest.approx(np.cos(angles[2] - angles[1]), abs=1e-6)
    others = {
        atlas.ids[place]: [atlas.ids[n] for n in near] for place, near, _ in nearest_others(atlas, 1, None, "family")
    }
    assert others == {"a": ["c"], "b": ["c"], "c": ["b"], "d": ["c"]}


def test_purity_is_one_for_kinds_apart_and_chance_counts_others_alone(tmp_path: Path) -> None:
    vectors = np.array([[1, 0], [1, 0.1], [1, 0.2], [0, 1], [0.1, 1], [0.2, 1]], np.float32)
    columns = {"kind": list("aaabbb"), "pair": list("xxyzzw")}
    atlas, _ = add(tmp_path / "a", ORIGIN, Rows(list("123456"), vectors, columns))
    (kind,) = purity(atlas, ["kind"], 2)
    assert (kind.rows, kind.same) == (6, 1.0)
    assert kind.chance == pytest.approx(2 / 5)
    (apart,) = purity(atlas, ["kind"], 1, apart="pair")
    assert apart.same == 1.0
    assert apart.chance == pytest.approx((4 * (1 / 4) + 2 * (2 / 5)) / 6)
