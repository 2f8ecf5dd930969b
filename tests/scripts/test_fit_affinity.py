"""ligare fit-affinity: scores on unseen groups, and a checkpoint that the other commands take."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from configs.files import read_json
from data.item import Item
from data.shards import write_part
from data.vocab import load_vocabulary
from models.config import EncoderConfig
from models.persistence import save_pretrained
from models.prediction_model import PredictionModel
from scripts import fit_affinity, predict
from trainers.kernel_fit import CHOSEN

SMALL = EncoderConfig(
    atom_hidden_size=8, block_hidden_size=8, edge_size=8, n_layers=1, k_neighbors=3, fragmentation_method="PS_300"
)


def item(number: int) -> Item:
    """Two residues on either side; the tighter the nearer."""
    rng = np.random.default_rng(number)
    gap = rng.uniform(3, 6)
    X = rng.normal(size=(16, 3)) + np.repeat([[0, 0, 0], [gap, 0, 0]], 8, axis=0)
    return Item(
        id=f"{'a' if number % 2 else 'b'}_{number}",
        X=X.astype(np.float32),
        A=rng.choice([8, 9, 10], 16).astype(np.uint8),
        B=rng.integers(4, 24, 4).astype(np.uint16),
        block_lengths=np.full(4, 4, np.int32),
        segment_ids=np.array([0, 0, 1, 1], np.uint8),
        modality=0,
        label=float(gap * 2 - 18),
        group=f"group {number // 3}",
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    torch.set_num_threads(1)
    folder, vocabulary = tmp_path_factory.mktemp("affinity"), load_vocabulary()
    unlabelled = item(99).with_(label=float("nan"))
    items = [*map(item, range(36)), unlabelled]
    shards = write_part(folder / "shards", items, vocabulary.fingerprint, vocabulary=vocabulary.name)
    torch.manual_seed(0)
    save_pretrained(PredictionModel(SMALL), folder / "encoder")
    given = [str(shards), "--checkpoint", str(folder / "encoder"), "--out", str(folder / "out"), "--subset", "a_"]
    assert fit_affinity.main([*given, "--folds", "4", "--repeats", "2", "--licence", "CC-BY-4.0"]) == 0
    return shards, folder / "out"


def test_every_regressor_is_scored_on_all_items_and_the_subset(made: tuple[Path, Path]) -> None:
    _, out = made
    rows = pd.read_json(out / "scores.json")
    assert rows["items"].tolist().count(36) == 9
    kept = rows[rows["predictor"] == CHOSEN]
    assert kept["subset"].tolist() == ["", "a_"]
    assert kept["items"].tolist() == [36, 18]
    rmse, spread = kept["scores"].iloc[0]["rmse"]
    assert rmse < rows["scores"][0]["rmse"][0]  # of the mean
    assert spread > 0
    assert rows["predictor"].str.contains("fitted to the very items").sum() == 1
    assert len(pd.read_csv(out / "predictions.csv")) == 36


def test_the_checkpoint_predicts_in_the_unit_of_the_labels_and_tells_what_it_knows(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    shards, out = made
    facts = read_json(out / "checkpoint" / "manifest.json")["extra"]
    assert facts["license"] == "CC-BY-4.0"
    assert len(facts["calibration"]["label"]["residuals"]) == 36
    given = [str(shards), "--checkpoint", str(out / "checkpoint"), "--out", str(tmp_path / "p.csv")]
    assert predict.main([*given, "--device", "cpu"]) == 0
    found = pd.read_csv(tmp_path / "p.csv").set_index("id")
    labels = pd.Series({one.id: one.label for one in map(item, range(36))})
    pred = found["label (kcal/mol)"]
    assert np.sqrt(((pred[labels.index] - labels) ** 2).mean()) < labels.std() / 2
    assert found["unknown_fraction"].max() <= 1
    card = (out / "checkpoint" / "README.md").read_text()
    assert "unseen groups" in card
    assert "descriptors" in card


def test_a_subset_without_items_and_shards_without_labels_are_refused(
    made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards, out = made
    given = ["--checkpoint", str(out.parent / "encoder"), "--out", str(tmp_path / "out"), "--folds", "2"]
    assert fit_affinity.main([str(shards), *given, "--subset", "zz"]) == 2
    assert "no id begins with 'zz'" in capsys.readouterr().err
    vocabulary = load_vocabulary()
    bare = [item(0).with_(label=float("nan")), item(1)]
    other = write_part(tmp_path / "bare", bare, vocabulary.fingerprint, vocabulary=vocabulary.name)
    assert fit_affinity.main([str(other), *given]) == 2
    assert "holds 1 item with a label" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
