"""The evaluation of a pretraining run: its numbers are those of a direct computation."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import train
from configs.schema import from_flat
from data.collate import collate_items
from data.dataset import random_of
from data.item import Item
from data.noise import PretrainTransform
from data.shards import ShardReader, write_part
from data.synthetic import make_items
from data.vocab import load_vocabulary
from models.persistence import from_pretrained
from scripts.evaluate_pretraining import interval, main

OPTIONS = (
    "--fragmentation_method PS_300 --atom_hidden_size 8 --block_hidden_size 8 --edge_size 4 --k_neighbors 3 "
    "--n_layers 1 --translation_noise 1 --rotation_noise 0.25 --torsion_noise 0.5 --mask_proportion 0.2 "
    "--max_n_vertex_per_gpu 200 --max_n_vertex_per_item 10 --max_epoch 1 --gpus -1 --no_progress --no_use_tensorboard"
)
DRAWS, SEED = 2, 5


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder: one epoch on nine complexes, three held out."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    vocabulary = load_vocabulary()
    items = make_items(12)
    for name, part in (("train", items[:9]), ("valid", items[9:])):
        write_part(folder / name, part, vocabulary.fingerprint, vocabulary=vocabulary.name)
    sets = ["--train_set", str(folder / "train"), "--valid_set", str(folder / "valid")]
    assert train.main([*OPTIONS.split(), *sets, "--save_dir", str(folder)]) == 0
    return folder / "version_0"


def evaluate(run: Path, *options: str) -> dict:
    assert main([str(run), "--draws", str(DRAWS), "--seed", str(SEED), "--out", str(run / "out"), *options]) == 0
    return json.loads((run / "out" / "evaluation.json").read_text())


def noised(run: Path, name: str, seed: int, draws: int) -> list[Item]:
    options = from_flat(json.loads((run / "train_config.json").read_text())["options"])
    transform = PretrainTransform(options.noise, options.data.max_n_vertex_per_item)
    reader = ShardReader(run.parent / name)
    return [transform(item, random_of(seed, draw, i)) for draw in range(draws) for i, item in enumerate(reader)]


def test_losses_are_the_means_over_items_and_draws(run: Path) -> None:
    report = evaluate(run)
    model = from_pretrained(run / "checkpoint" / "best").eval()
    parts = [model.infer(collate_items([item])).parts() for item in noised(run, "valid", SEED, DRAWS)]
    assert [row["part"] for row in report["losses"]] == ["torsion", "translation", "rotation"]
    for row in report["losses"]:
        use = [p for p in parts if float(p[f"{row['part']}_base"]) > 0]
        loss, base = (np.mean([float(p[f"{row['part']}_{kind}"]) for p in use]) for kind in ("loss", "base"))
        assert row["items"] == len(use)
        assert (row["loss"], row["base"]) == (pytest.approx(loss, rel=1e-5), pytest.approx(base, rel=1e-5))
        assert row["ratio"] == pytest.approx(loss / base, rel=1e-5)
        assert row["ratio_95"][0] <= row["ratio"] + 1e-9


def test_masked_accuracies_of_model_and_majority(run: Path) -> None:
    report = evaluate(run)["masked"]
    model = from_pretrained(run / "checkpoint" / "best").eval()
    items = noised(run, "valid", SEED, DRAWS)
    logits = np.concatenate([model.infer(collate_items([item])).masked_logits.numpy() for item in items])
    labels = np.concatenate([item.masked_labels for item in items])
    rank = (logits > logits[np.arange(len(labels)), labels][:, None]).sum(1)
    seen = np.concatenate([item.masked_labels for item in noised(run, "train", SEED + 1, 1)])
    majority = int(np.argmax(np.bincount(seen)))
    rows = {row["predictor"]: row for row in report["rows"]}
    assert report["blocks"] == len(labels)
    assert report["majority_class"] == majority
    assert set(rows) == {"model", "composition", "majority"}
    assert rows["model"]["top1"] == pytest.approx((rank == 0).mean())
    assert rows["model"]["top5"] == pytest.approx((rank < 5).mean())
    assert rows["majority"]["top1"] == pytest.approx((labels == majority).mean())


def test_the_same_seed_gives_the_same_report_and_another_one_does_not(run: Path) -> None:
    first = evaluate(run)
    assert evaluate(run) == first
    assert evaluate(run, "--seed", "6")["losses"] != first["losses"]


def test_the_table_tells_the_numbers_of_the_report(run: Path) -> None:
    report = evaluate(run)
    table = (run / "out" / "evaluation.md").read_text()
    for row in report["losses"]:
        assert f"| {row['part']} | {row['items']} | {row['loss']:.4f} | {row['base']:.4f} | {row['ratio']:.3f}" in table
    for row in report["masked"]["rows"]:
        assert f"| {row['predictor']} | {row['top1']:.3f} |" in table


def test_shards_of_another_vocabulary_are_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    plain = load_vocabulary(None)
    other = write_part(tmp_path / "other", ShardReader(run.parent / "valid"), plain.fingerprint)
    assert main([str(run), "--valid_set", str(other)]) == 2
    assert "was made with vocabulary" in capsys.readouterr().err
    assert not (run / "evaluation").exists()


def test_whole_groups_are_drawn() -> None:
    """With equal values inside each of two groups, a draw of two groups can only have these three means."""
    values, groups = np.array([0.0, 0.0, 1.0, 1.0]), np.array(["a", "a", "b", "b"])
    drawn: list[float] = []

    def mean(indices: np.ndarray) -> float:
        drawn.append(values[indices].mean())
        return drawn[-1]

    low, high = interval(mean, groups, np.random.default_rng(0))
    assert set(drawn) == {0.0, 0.5, 1.0}
    assert (low, high) == (0.0, 1.0)
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.05)
