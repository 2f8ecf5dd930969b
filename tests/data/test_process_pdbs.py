"""From an index or a folder to shards: order, faults, interruption, any number of processes."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from item_factory import random_item
from structure_texts import LYS, SER, chain_of, dimer, residue, write
from unruly_files import hook_in, index_of

from configs.errors import DataError
from data import backends
from data.index import rows_of_index, structure_files
from data.parts import FILES_A_PART, PARTS, make_part, unknown_names
from data.prepare import PrepareOptions, tasks_of_rows
from data.prepare_parallel import prepare
from data.shards import ShardReader
from scripts.process_pdbs import main

ROOT = Path(__file__).parents[2]
HEADER = "pdb_id,pdb_path,chain1,chain2,lig_code,lig_smiles,lig_resi,label,group"


def index(folder: Path, rows: list[str], header: str = HEADER) -> Path:
    path = folder / "index.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def good_index(folder: Path, n: int = 3) -> Path:
    for i in range(n):
        lines = chain_of("SER", 4, "A", SER) + chain_of("LYS", 3 + i % 4, "B", LYS, shift=(0, 7, 0))
        write(folder / f"s{i}.pdb", lines)
    # Rows of one file are apart, so order by file is not order by row.
    rows = [f"a{i},s{i}.pdb,A,B,,,,{i}.5,g{i}" for i in range(n)] + [f"b{i},s{i}.pdb,B,A,,,,," for i in range(n)]
    return index(folder, rows)


def process(path: Path, out: Path, *options: str) -> int:
    return main(["--data_index_file", str(path), "--out_path", str(out), *options])


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def test_items_come_in_the_order_of_the_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert process(good_index(tmp_path), tmp_path / "out") == 0
    reader = ShardReader(tmp_path / "out")
    assert reader.ids == ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert reader.counts["label"][:3].tolist() == [0.5, 1.5, 2.5]
    assert reader.groups == ["g0", "g1", "g2", "s0", "s1", "s2"]  # without one, the file
    assert "PP" in capsys.readouterr().out
    assert not (tmp_path / "out" / PARTS).exists()


def labelled_index(folder: Path) -> Path:
    good_index(folder)
    rows = [
        f"a{i},s{i}.pdb,A,B,{kind},{kd},{i}" for i, (kind, kd) in enumerate([("tight", 1.5), ("weak", ""), ("weak", 9)])
    ]
    return index(folder, rows, "pdb_id,pdb_path,chain1,chain2,kind,kd,ic50")


def test_labels_of_several_columns_and_names_of_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = labelled_index(tmp_path)
    assert process(path, tmp_path / "values", "--label_columns", "kd", "ic50", "--label_unit", "nM") == 0
    reader = ShardReader(tmp_path / "values")
    found = [item.targets for item in reader]
    np.testing.assert_array_equal(found, np.array([[1.5, 0], [np.nan, 1], [9, 2]], np.float32))
    assert np.isnan(reader.counts["label"]).all()
    assert (reader.manifest["extra"]["targets"], reader.manifest["extra"]["label_unit"]) == (["kd", "ic50"], "nM")

    kinds = ["--label_columns", "kind", "--label_classes"]
    assert process(path, tmp_path / "classes", *kinds) == 0
    reader = ShardReader(tmp_path / "classes")
    assert reader.counts["label"].tolist() == [0, 1, 1]
    assert reader.manifest["extra"]["classes"] == ["tight", "weak"]
    assert process(path, tmp_path / "classes", *kinds) == 0  # the same command again changes nothing
    assert process(path, tmp_path / "classes", *kinds, "weak", "tight") == 2
    assert "holds a data set of other rows" in capsys.readouterr().err
    assert process(path, tmp_path / "other", *kinds, "tight", "none") == 2
    assert "line 3, label: 'weak' is none of the classes tight, none" in capsys.readouterr().err
    assert process(path, tmp_path / "other", "--label_columns", "kd", "ic50", "--label_classes") == 2
    assert "--label_columns: classes are read from one column" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_any_number_of_processes_gives_the_same_bytes(tmp_path: Path) -> None:
    path = good_index(tmp_path, FILES_A_PART * 2 + 3)
    assert process(path, tmp_path / "one") == process(path, tmp_path / "two", "--n_jobs", "2") == 0
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")


def test_refused_rows_are_listed_with_reasons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good_index(tmp_path, 1)
    write(tmp_path / "far.pdb", residue("SER", 1, SER) + residue("SER", 1, SER, "B", (50, 0, 0)))
    (tmp_path / "cut.pdb").write_text("\n".join(dimer())[:1000])
    bad = ["far,far.pdb,A,B,,,,,", "gone,gone.pdb,A,B,,,,,", "cut,cut.pdb,A,B,,,,,", "chain,s0.pdb,A,Z,,,,,"]
    bad.append("blank,,A,B,,,,,")
    assert process(index(tmp_path, [*bad, "good,s0.pdb,A,B,,,,,"]), tmp_path / "out") == 0
    with open(tmp_path / "out" / "failures.csv", newline="") as file:
        failures = {row["pdb_id"]: row for row in csv.DictReader(file)}
    assert list(failures) == ["far", "gone", "cut", "chain", "blank"]
    assert failures["blank"]["reason"] == "pdb_path: names no structure file"
    assert (failures["far"]["file"], failures["far"]["row"]) == ("far.pdb", "2")
    assert "the closest are" in failures["far"]["reason"]
    assert "no such file" in failures["gone"]["reason"]
    assert "cut.pdb, line 13: atom" in failures["cut"]["reason"]
    assert "its chains: A, B" in failures["chain"]["reason"]
    assert ShardReader(tmp_path / "out").ids == ["good"]
    assert "failures.csv" in capsys.readouterr().out


def test_each_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import data.prepare

    seen = []
    original = data.prepare.read_structure
    monkeypatch.setattr(data.prepare, "read_structure", lambda path, model: seen.append(path) or original(path, model))
    rows = tasks_of_rows(rows_of_index(good_index(tmp_path)))
    assert make_part(rows, tmp_path, tmp_path / "part", "key", PrepareOptions()) == []
    assert len(seen) == 3
    assert len(ShardReader(tmp_path / "part")) == 6


def test_a_killed_run_is_continued_and_ends_the_same(tmp_path: Path) -> None:
    path = index_of(tmp_path, [f"slow{i:02d}" for i in range(FILES_A_PART * 3)])
    (tmp_path / "hook").mkdir()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": hook_in(tmp_path / "hook")}  # until it is killed
    command = [
        sys.executable,
        "scripts/process_pdbs.py",
        "--data_index_file",
        str(path),
        "--out_path",
        str(tmp_path / "out"),
    ]
    running = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, env=environment)
    parts = tmp_path / "out" / PARTS
    deadline = time.monotonic() + 300
    while not list(parts.glob("*/manifest.json")) and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL, "it finished before it could be killed"
    with pytest.raises(DataError, match="is not a data set"):
        ShardReader(tmp_path / "out")
    assert list(parts.glob("*/manifest.json"))
    assert process(path, tmp_path / "out") == 0
    process(path, tmp_path / "whole")
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")


def test_complete_parts_are_kept_and_stale_ones_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = good_index(tmp_path, FILES_A_PART + 2)
    rows, made = tasks_of_rows(rows_of_index(path)), []
    original = backends.make_safely

    def interrupted(order, limits):
        if order.number == 1 and not made:
            made.append("interrupted")
            raise KeyboardInterrupt
        made.append(order.number)
        return original(order, limits)

    monkeypatch.setattr(backends, "make_safely", lambda *a: original(*a) if not a[0].number else interrupted(*a))
    with pytest.raises(KeyboardInterrupt):
        prepare(rows, tmp_path, tmp_path / "out", PrepareOptions(), progress=False)
    monkeypatch.setattr(backends, "make_safely", interrupted)
    prepare(rows, tmp_path, tmp_path / "out", PrepareOptions(), progress=False)
    assert made == ["interrupted", 1]


def test_the_second_copy_of_a_part_is_dropped(tmp_path: Path) -> None:
    tasks = tasks_of_rows(rows_of_index(good_index(tmp_path)))
    parts = tmp_path / PARTS
    parts.mkdir()
    for _ in range(2):  # the first worker was thought to be lost
        make_part(tasks, tmp_path, parts / "part", "key", PrepareOptions())
    assert [path.name for path in parts.iterdir()] == ["part"]
    with pytest.raises(OSError, match="not empty"):
        make_part(tasks, tmp_path, parts / "part", "other key", PrepareOptions())
    with pytest.raises(FileNotFoundError):  # the run is over
        make_part(tasks, tmp_path, tmp_path / "gone" / "part", "key", PrepareOptions())
    assert len(ShardReader(parts / "part")) == 6


def test_a_finished_run_is_not_repeated_and_other_options_are_refused(tmp_path: Path) -> None:
    path = good_index(tmp_path)
    assert process(path, tmp_path / "out") == 0
    before = bytes_of(tmp_path / "out")
    assert process(path, tmp_path / "out") == 0
    assert process(path, tmp_path / "out", "--cutoff", "6") == 2
    assert bytes_of(tmp_path / "out") == before


def test_a_folder_needs_no_index(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    write(tmp_path / "in" / "one.pdb", dimer())
    write(tmp_path / "in" / "deep" / "two.ent", dimer())
    (tmp_path / "in" / "notes.txt").write_text("no structure")
    assert main(["--structures", str(tmp_path / "in"), "--out_path", str(tmp_path / "out")]) == 0
    made = ShardReader(tmp_path / "out")
    assert sorted(made.ids) == ["one_AB_A301-ZN", "one_A_B", "two_AB_A301-ZN", "two_A_B"]
    assert made.groups == [name[:3] for name in made.ids]  # a split by group keeps the interfaces of a file together


def test_blocks_of_unknown_type_are_counted_by_name() -> None:
    item = random_item(1, n_blocks=4).with_(B=np.array([4, 2, 2, 5], np.uint16), block_resname=["GLY", "X", "Y", "ALA"])
    assert list(unknown_names(item)) == ["X", "Y"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"index.csv: is empty"),
        (HEADER, r"index.csv: has no rows"),
        (
            "pdb_id,chain1,chain2\nx,A,B",
            r"index.csv: lacks the column 'pdb_path' \(its columns: pdb_id, chain1, chain2\)",
        ),
        ("pdb_id,pdb_path,chain1\nx,y,A", "lacks the column 'chain2'"),
        ("pdb_id,pdb_path,chain1,chain2,chain2\na,b,c,d,e", "has the column 'chain2' twice"),
        (HEADER + "\na,b", r"index.csv, line 2: has 2 values for 9 columns"),
    ],
)
def test_a_faulty_index_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "index.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        rows_of_index(tmp_path / "index.csv")
    assert process(tmp_path / "index.csv", tmp_path / "out") == 2
    assert not (tmp_path / "out").exists()


def test_a_missing_index_or_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.csv: no such file"):
        rows_of_index(tmp_path / "none.csv")
    with pytest.raises(DataError, match="no such file or folder"):
        structure_files(tmp_path / "none")
    with pytest.raises(DataError, match="holds no structure files"):
        structure_files(tmp_path)


def test_bad_options_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = good_index(tmp_path)
    for option, value in (("--cutoff", "-1"), ("--n_jobs", "0"), ("--n_jobs", "-2"), ("--model", "-2")):
        assert process(path, tmp_path / "out", option, value) == 2
        assert f"{option}: must be" in capsys.readouterr().err
    assert process(path, tmp_path / "out", "--vocabulary", "PS_1") == 2
    assert "no such vocabulary" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_nothing_made_is_a_failure_with_reasons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert process(index(tmp_path, ["x,gone.pdb,A,B,,,,,"]), tmp_path / "out") == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "no interface could be made; the first of 1 reasons" in message
    assert "gone.pdb: no such file" in message
    assert "no such file" in (tmp_path / "out" / "failures.csv").read_text()
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_sodium_is_not_a_missing_value_and_ids_become_unique(tmp_path: Path) -> None:
    rows = rows_of_index(index(tmp_path, ["x,a.pdb,A,A,NA,,301,,", "x,a.pdb,A,A,NA,,302,,"]))
    assert [(row.pdb_id, row.lig_code, row.line) for row in rows] == [("x", "NA", 2), ("x_2", "NA", 3)]


def test_other_spellings_of_the_columns_are_known(tmp_path: Path) -> None:
    rows = rows_of_index(index(tmp_path, ["x,a.pdb,A,B,7A"], "id,path,chains1,chains2,lig_resid"))
    assert (rows[0].pdb_id, rows[0].pdb_path, rows[0].chain2, rows[0].lig_resi) == ("x", "a.pdb", "B", "7A")
