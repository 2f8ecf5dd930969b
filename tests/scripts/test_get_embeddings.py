"""Embeddings on disk are what the model gives each interface alone, in the order of the data set."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from data.collate import collate_items
from data.item import Item
from data.shards import write_part
from data.vocab import GLOBAL, load_vocabulary
from models import create_model, from_pretrained
from models.load_any import load_checkpoint
from models.named import REPRESENTATIONS
from scripts.get_embeddings import main

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("INTERFACE_DATA", ROOT.parent / "shared" / "data"))
SHIPPED = ROOT / "checkpoints" / "pretrain_small"
PUBLISHED = ROOT / "tests" / "fixtures" / "parity" / "PredictionModel"
SIZES = (4, 3, 6)


def item(number: int, n_blocks: int) -> Item:
    """Blocks of two atoms, half of them in either segment."""
    rng = np.random.default_rng(number)
    return Item(
        id=f"entry{number}",
        X=rng.normal(size=(2 * n_blocks, 3)).astype(np.float32) * 4,
        A=rng.integers(8, 11, 2 * n_blocks).astype(np.uint8),
        B=rng.integers(4, 24, n_blocks).astype(np.uint16),
        block_lengths=np.full(n_blocks, 2, np.int32),
        segment_ids=(np.arange(n_blocks) >= n_blocks // 2).astype(np.uint8),
        modality=number,
        block_chain=["A"] * n_blocks,
        block_resid=np.arange(n_blocks, dtype=np.int32) + 10 * number,
        block_icode=[""] * n_blocks,
        block_resname=["GLY"] * n_blocks,
    )


ITEMS = [item(number, n_blocks) for number, n_blocks in enumerate(SIZES)]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    sizes = {"atom_hidden_size": 8, "block_hidden_size": 8, "edge_size": 4, "n_layers": 1, "k_neighbors": 3}
    create_model("PredictionModel", **sizes, num_block_types=440, fragmentation_method="PS_300").save_pretrained(
        tmp_path / "model"
    )
    return tmp_path / "model"


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return write_part(tmp_path / "shards", ITEMS, load_vocabulary("PS_300").fingerprint)


@pytest.mark.parametrize("level", ["graph", "block", "atom"])
def test_rows_are_the_embeddings_of_each_interface_alone(
    level: str, shards: Path, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.parquet"
    command = [str(shards), "--checkpoint", str(checkpoint), "--out", str(out), "--level", level, "--gpus", "-1"]
    assert main([*command, "--max_blocks", "8"]) == 0
    table = pq.read_table(out).to_pydict()
    model = from_pretrained(checkpoint).eval()
    expected = []
    for one in ITEMS:
        batch = collate_items([one])
        with torch.no_grad():
            found = model.encode(batch)
        ordinary = batch["B"] != GLOBAL
        atoms = ordinary.repeat_interleave(batch["block_lengths"])
        of_level = {"graph": found.graph_repr, "block": found.block_repr[ordinary], "atom": found.unit_repr[atoms]}
        expected.append(of_level[level])
    np.testing.assert_allclose(table["embedding"], torch.cat(expected), atol=1e-5)
    assert table["id"] == [one.id for one, rows in zip(ITEMS, expected) for _ in range(len(rows))]
    if level == "atom":
        residues = np.repeat(np.concatenate([one.block_resid for one in ITEMS]), 2)
        assert table["block_resid"] == residues.tolist()


def test_shards_of_another_vocabulary_are_refused_and_nothing_is_written(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_part(tmp_path / "other", ITEMS, load_vocabulary(None).fingerprint)
    out = tmp_path / "out.parquet"
    assert main([str(other), "--checkpoint", str(checkpoint), "--out", str(out), "--gpus", "-1"]) == 2
    assert "was made with vocabulary" in capsys.readouterr().err
    assert not out.exists()


def test_the_checkpoint_that_comes_with_the_package_loads(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    assert main([str(shards), "--checkpoint", str(SHIPPED), "--out", str(out), "--gpus", "-1"]) == 0
    vectors = np.array(pq.read_table(out).to_pydict()["embedding"])
    assert vectors.shape == (len(ITEMS), 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_without_a_checkpoint_the_shipped_one_is_taken_and_told(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([str(shards), "--out", "default.csv", "--device", "cpu"]) == 0
    said = capsys.readouterr()
    assert "no --checkpoint is named: pretrain_small is taken" in said.err
    assert said.out == "3 graph embeddings of 3 interfaces in default.csv\n"
    assert main([str(shards), "--out", "named.csv", "--checkpoint", str(SHIPPED), "--device", "cpu"]) == 0
    assert (tmp_path / "default.csv").read_text() == (tmp_path / "named.csv").read_text()
    assert not capsys.readouterr().err


def test_a_regressor_has_no_vectors_and_the_hint_names_what_has(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(shards), "--checkpoint", "affinity_ppi", "--out", str(tmp_path / "x.csv")]) == 2
    told = capsys.readouterr().err
    assert "affinity_ppi: is a KernelModel, which has no vectors of its own (`ligare predict` tells" in told
    assert "take the checkpoint that it was fitted on (pretrain_small, for those that are shipped)" in told


def test_a_folder_without_a_checkpoint_is_named_with_the_way_out(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main([str(shards), "--checkpoint", str(tmp_path / "empty"), "--out", str(tmp_path / "x.parquet")]) == 2
    assert "empty: holds no checkpoint (a checkpoint has model.safetensors" in capsys.readouterr().err


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"INTERFACE_DATA: no folder {DATA}")
def test_a_real_structure_gives_a_table_for_each_level(tmp_path: Path) -> None:
    path, out = DATA / "pretrain" / "structures" / "11as.pdb.gz", tmp_path / "out.parquet"
    names = ["h_graph", "z_graph", "h_interface", "z_block", "h_atom"]
    words = [str(path), "--chain1", "A", "--chain2", "B", "--checkpoint", str(PUBLISHED), "--out", str(out)]
    assert main([*words, "--representations", *names, "--rule", "mean_std_global", "--device", "cpu"]) == 0
    assert sorted(file.stem for file in tmp_path.iterdir()) == ["out_atom", "out_block", "out_graph", "out_interface"]
    model = load_checkpoint(PUBLISHED)
    for level, chosen in {"graph": names[:2], "interface": names[2:3], "block": names[3:4], "atom": names[4:]}.items():
        table = pd.read_parquet(tmp_path / f"out_{level}.parquet")
        rule = "mean_std_global" if level == "graph" else None
        frame = model.embed(path, chosen, rule, chain1="A", chain2="B")
        assert list(table) == ["id", *frame.columns]
        for name in chosen:
            np.testing.assert_allclose(np.stack(table[name]), np.stack(frame[name]), atol=1e-6, err_msg=name)


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"INTERFACE_DATA: no folder {DATA}")
def test_a_folder_of_real_structures_as_csv_with_its_failures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "structures"
    folder.mkdir()
    for name in ("102d", "11as"):
        shutil.copy(DATA / "pretrain" / "structures" / f"{name}.pdb.gz", folder)
    (folder / "broken.pdb").write_text("nothing\n")
    out = tmp_path / "out.csv"
    assert main([str(folder), "--checkpoint", str(SHIPPED), "--out", str(out), "--device", "cpu"]) == 0
    table = pd.read_csv(out)
    assert table["id"].tolist() == ["102d_A_B25-UNK", "11as_A_B", "11as_A_A331-ASN"]
    assert list(table)[:5] == ["id", "pdb_path", "group", "modality", "label"]
    assert list(table)[5:] == [f"embedding_{number}" for number in range(16)]
    assert "broken.pdb: is neither PDB nor mmCIF" in (tmp_path / "out.failures.csv").read_text()
    assert "1 failed, reasons in" in capsys.readouterr().err


def test_guidance_tells_sizes_and_what_a_model_can_not_give(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--guidance"]) == 0
    plain = capsys.readouterr().out
    assert all(f"\n{name} " in f"\n{plain}" for name in REPRESENTATIONS)
    assert main(["--guidance", "--checkpoint", str(PUBLISHED)]) == 0
    assert "z_graph      480 or 160" in capsys.readouterr().out
    assert main(["--guidance", "--checkpoint", str(SHIPPED)]) == 0
    assert "this model has 2 layers; z needs 3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("{shards} --checkpoint {model}", "--out: is required"),
        ("--checkpoint {model} --out {out}", "--input: name one input"),
        (
            "{shards} --checkpoint {model} --out {out} --rule mean_std_global",
            "--rule: says how z_graph and z_interface",
        ),
        (
            "{shards} --checkpoint {model} --out {out} --representations z_block --rule mean_std_global",
            "neither is among z_block (leave it out, or name one of them",
        ),
        ("{shards} --checkpoint {model} --out {out} --representations h_grph", "unknown representation 'h_grph'"),
        ("{shards} --checkpoint {model} --out {out} --representations z_block", "z_block needs a model of 3 layers"),
        ("{shards} --checkpoint {model} --out {out} --chain1 A", "--chain1: is for structure files"),
        ("{shards} --checkpoint {model} --out {out}.xlsx", "has no known ending"),
        ("{shards} --checkpoint {model} --out {out} --device tpux", "'tpux' is no device"),
    ],
)
def test_options_that_make_no_sense_are_named(
    words: str, message: str, shards: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(words.format(shards=shards, model=checkpoint, out=out).split()) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))
