"""Embeddings on disk are what the model gives each interface alone, in the order of the data set."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from data.collate import collate_items
from data.item import Item
from data.shards import write_part
from data.vocab import GLOBAL, load_vocabulary
from models import create_model, from_pretrained
from scripts.get_embeddings import main

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
    shipped = Path(__file__).parents[2] / "checkpoints" / "pretrain_small"
    out = tmp_path / "out.parquet"
    assert main([str(shards), "--checkpoint", str(shipped), "--out", str(out), "--gpus", "-1"]) == 0
    vectors = np.array(pq.read_table(out).to_pydict()["embedding"])
    assert vectors.shape == (len(ITEMS), 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_a_folder_without_a_checkpoint_is_named_with_the_way_out(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main([str(shards), "--checkpoint", str(tmp_path / "empty"), "--out", str(tmp_path / "x.parquet")]) == 2
    assert "empty: holds no checkpoint (a checkpoint has model.safetensors" in capsys.readouterr().err
