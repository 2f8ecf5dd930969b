"""Pockets with labels from a table of contacts."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from test_pockets import ball

from data.shards import ShardReader
from scripts import make_pockets
from scripts.make_pockets import COLUMNS

ROW = {
    "chain": "A",
    "chain_kind": "protein",
    "het_code": "LIG",
    "category": "ligand",
    "het_chain": "A",
    "het_resid": "900",
    "n_contact_residues": "5",
    "covalent": "0",
    "full_pdb_entry": "1",
}


def table(folder: Path, rows: list[dict[str, str]]) -> Path:
    with open(folder / "contacts.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(ROW | row for row in rows)
    return folder / "contacts.csv"


def entries(folder: Path, codes: dict[str, int], most: int = 6) -> Path:
    """Files with a ball of residues and a ligand each; as many families as files."""
    rows = []
    for code, n in codes.items():
        for i in range(n):
            name = f"{code.lower()}{i}"
            lines = [line.replace("LIG", code) for line in ball(8.0)]
            extra = [lines[-1].replace(f"C3  {code}", f"C{4 + k}  {code}") for k in range(most - 4)]
            moved = [f"{line[:46]}{float(line[46:54]) + 1.4 * (k + 1):8.3f}{line[54:]}" for k, line in enumerate(extra)]
            (folder / f"{name}.pdb").write_text("\n".join([*lines, *moved, "END", ""]))
            rows.append({"pdb_id": name, "path": f"{name}.pdb", "family": f"F{len(rows)}", "het_code": code})
    return table(folder, rows)


def make(path: Path, out: Path, *more: str) -> int:
    return make_pockets.main([str(path), "--root", str(path.parent), "--out_path", str(out), *more])


def test_codes_with_enough_families_become_classes(tmp_path: Path) -> None:
    path = entries(tmp_path, {"AAA": 3, "BBB": 4, "CCC": 1})
    out = tmp_path / "out"
    assert make(path, out, "--task", "type", "--min_families", "2", "--min_items", "2") == 0
    reader = ShardReader(out)
    assert reader.manifest["extra"]["classes"] == ["BBB", "AAA"]
    assert len(reader) == 7
    for item in reader:
        code = item.id.split("_")[2][:3]
        assert ["BBB", "AAA"][int(item.label)] == code
        assert code not in (item.block_resname or [])
        assert set(item.segment_ids.tolist()) == {0}
        assert item.group.startswith("F")
    with open(out / "pockets.csv", newline="") as file:
        listed = list(csv.DictReader(file))
    assert [row["id"] for row in listed] == reader.ids
    assert all(row["class"] == row["het_code"] for row in listed)


def test_bound_pockets_and_decoys_are_equally_large(tmp_path: Path) -> None:
    path = entries(tmp_path, {"AAA": 3})
    assert make(path, tmp_path / "out", "--task", "bound") == 0
    items = {item.id: item for item in ShardReader(tmp_path / "out")}
    pockets = [name for name in items if not name.endswith("_decoy")]
    assert len(items) == 2 * len(pockets) > 0
    for name in pockets:
        pocket, decoy = items[name], items[f"{name}_decoy"]
        assert (pocket.label, decoy.label) == (1.0, 0.0)
        assert pocket.n_blocks == decoy.n_blocks
        assert pocket.group == decoy.group
        assert set(pocket.block_resid.tolist()) != set(decoy.block_resid.tolist())


def test_only_what_counts_is_read(tmp_path: Path) -> None:
    rows = [
        {"pdb_id": "a", "path": "a.pdb", "family": "F1"},
        {"pdb_id": "a", "path": "a.pdb", "family": "F2", "chain": "B", "n_contact_residues": "9"},
        {"pdb_id": "b", "path": "b.pdb", "family": "F1", "category": "additive"},
        {"pdb_id": "c", "path": "c.pdb", "family": "F1", "covalent": "1"},
        {"pdb_id": "d", "path": "d.pdb", "family": "", "covalent": "0"},
        {"pdb_id": "e", "path": "e.pdb", "family": "F1", "chain_kind": "rna"},
        {"pdb_id": "f", "path": "f.pdb", "family": "F1", "full_pdb_entry": "0"},
    ]
    path = table(tmp_path, rows)
    found = make_pockets.read_contacts(path, "type")
    assert [(c.pdb_id, c.chain, c.family) for c in found] == [("a", "B", "F2"), ("f", "A", "F1")]
    assert [c.pdb_id for c in make_pockets.read_contacts(path, "bound")] == ["a"]


def test_families_and_entries_are_capped(tmp_path: Path) -> None:
    path = entries(tmp_path, {"AAA": 4, "BBB": 4})
    rows = [{**row, "family": "F1"} for row in csv.DictReader(path.open(newline=""))]
    path = table(tmp_path, rows)
    out = tmp_path / "out"
    words = ("--task", "type", "--min_families", "1", "--min_items", "1", "--most_per_family", "3")
    assert make(path, out, *words) == 0
    labels = [item.label for item in ShardReader(out)]
    assert np.bincount(np.array(labels, int)).tolist() == [3, 3]


def test_faults_leave_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = entries(tmp_path, {"AAA": 2})
    assert make(path, tmp_path / "out", "--task", "type", "--min_families", "2", "--min_items", "2") == 2
    assert "leave 1 codes" in capsys.readouterr().err
    assert (
        make(table(tmp_path, [{"pdb_id": "x", "path": "none.pdb", "family": "F"}]), tmp_path / "out", "--task", "bound")
        == 2
    )
    assert "gave no pocket" in capsys.readouterr().err
    (tmp_path / "other.csv").write_text(json.dumps({}) + "\n1\n")
    assert make(tmp_path / "other.csv", tmp_path / "out", "--task", "type") == 2
    assert "lacks the columns category" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
