"""Scores on disk: the table, the structure whose B-factors they are, and the page that shows them offline."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import gemmi
import numpy as np
import pandas as pd
import pytest
import torch

from data.contacts import contacts, distance_to_other_side
from data.item import Item
from data.shards import write_part
from data.vocab import load_vocabulary
from data.write_structure import b_factors
from scripts.interact_score import file_name, main

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("INTERFACE_DATA", ROOT.parent / "shared" / "data"))
SHIPPED = ROOT / "checkpoints" / "pretrain_small"
PUBLISHED = ROOT / "tests" / "fixtures" / "parity" / "PredictionModel"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

torch.set_num_threads(1)


def some_item(name: str = "entry") -> Item:
    """Two residues of three atoms against one, and a residue of two fragments."""
    X = np.array([[0, 0, 0], [1.5, 0, 0], [3, 0, 0], [0, 5, 0], [1.5, 5, 0], [3, 5, 0], [0, 2, 3], [1.5, 2, 3]])
    return Item(
        id=name,
        X=X.astype(np.float32),
        A=np.full(8, 8, np.uint8),
        B=np.array([4, 5, 40, 41], np.uint16),
        block_lengths=np.array([3, 3, 1, 1], np.int32),
        segment_ids=np.array([0, 0, 1, 1], np.uint8),
        block_chain=["A", "A", "B", "B"],
        block_resid=np.array([7, 8, 1, 1], np.int32),
        block_icode=["", "A", "", ""],
        block_resname=["GLY", "ALA", "XYZ", "XYZ"],
    )


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    vocabulary = load_vocabulary()
    items = [some_item(f"entry/{number}") for number in range(2)]
    return write_part(tmp_path / "shards", items, vocabulary.fingerprint, vocabulary=vocabulary.name)


def page_data(page: Path) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.S)
    assert found is not None
    return json.loads(found[1])


def test_shards_give_a_table_structures_and_pages(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    command = [str(shards), "--checkpoint", str(SHIPPED), "--out", str(out)]
    assert main([*command, "--structures", str(tmp_path / "cif"), "--pages", str(tmp_path / "html")]) == 0
    table = pd.read_csv(out, keep_default_na=False)
    assert list(table.columns[:7]) == ["id", "block", "segment", "chain", "resname", "resid", "icode"]
    first = table[table.id == "entry/0"]
    assert first.icode.tolist() == ["", "A", "", ""]
    assert first.block_type.tolist() == [load_vocabulary().symbol(block) for block in some_item().B]
    assert first.sort_values("score", ascending=False)["rank"].tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(first.distance, distance_to_other_side(some_item()), atol=1e-6)
    structure = gemmi.read_structure(str(tmp_path / "cif" / "entry_0.cif"))
    found = [atom.b_iso for chain in structure[0] for residue in chain for atom in residue]
    expected = np.repeat(100 * first.score / first.score.max(), some_item().block_lengths)
    np.testing.assert_allclose(found, expected, atol=0.01)
    names = [block["name"] for block in page_data(tmp_path / "html" / "entry_1.html")["blocks"]]
    assert names == ["A:GLY 7", "A:ALA 8A", "B:XYZ 1 #1", "B:XYZ 1 #2"]


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason="no real data")
@pytest.mark.parametrize("form", ["cif", "pdb"])
def test_residues_and_ligand_of_a_file_carry_their_scores(tmp_path: Path, form: str) -> None:
    """A protein with a ligand from a file of its own, and a published-format checkpoint."""
    rows = pd.read_csv(DATA / "pl_affinity" / "interfaces.csv", index_col="pdb_id")
    source, ligand = (DATA / str(rows.at["jacs_set__p38__002", name]) for name in ("pdb_path", "ligand_path"))
    command = [str(source), "--ligand_path", str(ligand), "--checkpoint", str(PUBLISHED), "--target", "segment1"]
    views = ["--structures", str(tmp_path), "--structure_format", form, "--pages", str(tmp_path)]
    assert main([*command, "--out", str(tmp_path / "scores.parquet"), *views]) == 0
    table = pd.read_parquet(tmp_path / "scores.parquet")
    table["b"] = 100 * table.score / table.score.max()
    before = gemmi.read_structure(str(source))
    after = gemmi.read_structure(str(next(tmp_path.glob(f"*.{form}"))))
    residues = {(c.name, r.seqid.num, r.seqid.icode.strip()): r for c in after[0] for r in c}
    protein = table[table.segment == 0]
    for each in protein.itertuples():
        residue = residues[each.chain, each.resid, each.icode]
        assert residue.name == each.resname
        np.testing.assert_allclose([atom.b_iso for atom in residue], each.b, atol=0.01)
    scored = {(r.chain, r.resid, r.icode) for r in protein.itertuples()}
    others = [r for key, r in residues.items() if key not in scored and r.name != "LIG"]
    assert len(others) > 100 and all(atom.b_iso == 0 for residue in others for atom in residue)
    assert sum(len(r) for c in before[0] for r in c) == sum(len(r) for r in residues.values() if r.name != "LIG")
    in_file = [atom.b_iso for residue in residues.values() if residue.name == "LIG" for atom in residue]
    away = np.abs(np.array(in_file)[:, None] - table[table.segment == 1].b.to_numpy())
    assert away.min(1).max() < 0.01 and away.min(0).max() < 0.01


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason="no real data")
def test_a_wrong_chain_names_the_existing_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(DATA / "pretrain" / "structures" / "1h9t.pdb.gz")
    command = [source, "--chain1", "A", "--chain2", "Q", "--checkpoint", str(SHIPPED)]
    assert main([*command, "--out", str(tmp_path / "x.csv")]) == 2
    assert re.search(r"Q.*A.*B", capsys.readouterr().err, re.S)
    assert not (tmp_path / "x.csv").exists()


def test_an_output_is_one_of_predictions(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [str(shards), "--checkpoint", str(SHIPPED), "--out", str(tmp_path / "x.csv")]
    assert main([*command, "--output", "0"]) == 2
    assert "--output: says which prediction is explained, and --target is complex" in capsys.readouterr().err
    assert main([*command, "--output", "0", "--target", "prediction"]) == 2
    assert "a DenoisePretrainModel predicts no value; targets without a head: complex" in capsys.readouterr().err


def test_a_page_asks_for_nothing(shards: Path, tmp_path: Path) -> None:
    command = [str(shards), "--checkpoint", str(SHIPPED), "--out", str(tmp_path / "scores.csv")]
    assert main([*command, "--pages", str(tmp_path)]) == 0
    text = (tmp_path / "entry_0.html").read_text()
    assert "default-src 'none'" in text
    assert not re.search(r"https?://|src=|@import|url\(|fetch\(|XMLHttp", text)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
def test_a_page_draws_in_a_browser(shards: Path, tmp_path: Path) -> None:
    command = [str(shards), "--checkpoint", str(SHIPPED), "--out", str(tmp_path / "scores.csv")]
    assert main([*command, "--pages", str(tmp_path)]) == 0
    browser = [str(BROWSER), "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    address = (tmp_path / "entry_0.html").as_uri()
    how = ["--virtual-time-budget=2000", "--enable-logging=stderr", "--dump-dom", address]
    done = subprocess.run([*browser, *how], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.count('class="bar"') == 4
    assert done.stdout.count('class="number"') >= 4 + 2 * len(contacts(some_item()))
    assert "CONSOLE" not in done.stderr


def test_names_become_file_names_of_their_own() -> None:
    taken: set[str] = set()
    assert [file_name(name, taken) for name in ("a/b", "a_b", "../x", "")] == ["a_b", "a_b_2", "_x", "complex"]


def test_b_factors_are_shares_of_the_largest_score() -> None:
    assert b_factors(np.array([0.0, 2e-6, 4e-6]), signed=False).tolist() == [0, 50, 100]
    assert b_factors(np.array([-2.0, 0, 1]), signed=True).tolist() == [0, 50, 75]
    assert b_factors(np.zeros(2), signed=False).tolist() == [0, 0]
