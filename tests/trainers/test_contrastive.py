"""One side of an interface finds its complex: the loss by its formula, and scores over the whole set."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import two_ranks_contrastive
from two_ranks_contrastive import ITEMS, make

from configs.errors import DataError
from data.collate import collate_items
from data.pairs import collate_pairs, one_segment
from models import from_pretrained
from models.losses import contrastive_loss
from trainers.prot_interface_trainer import loss_of_equals, pair_metrics

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def loss_in_plain_numbers(z: np.ndarray, y: np.ndarray, t: float = 0.5) -> float:
    """Both halves of the loss, term by term."""
    n, total = len(z), 0.0
    for i in range(n):
        a = [math.exp(float(z[i] @ y[j]) / t) for j in range(n)]
        back = [math.exp(float(z[j] @ y[i]) / t) for j in range(n)]
        s = sum(math.exp(float(z[i] @ z[j]) / t) for j in range(n) if j != i)
        r = sum(math.exp(float(y[i] @ y[j]) / t) for j in range(n) if j != i)
        own = float(z[i] @ y[i]) / t
        total += -own + math.log(s + sum(a)) - own + math.log(r + sum(back))
    return total / (2 * n)


def unit_rows(seed: int, n: int = 5, width: int = 4) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, width))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_loss_golden() -> None:
    """Unit vectors at angles 0, 90, 180 degrees against 10, 90, 200 degrees; worked out in plain Python."""
    z, y = (
        np.array([[math.cos(math.radians(a)), math.sin(math.radians(a))] for a in angles])
        for angles in ((0, 90, 180), (10, 90, 200))
    )
    golden = 0.3279824
    assert loss_in_plain_numbers(z, y) == pytest.approx(golden, abs=1e-6)
    assert float(contrastive_loss(torch.tensor(z), torch.tensor(y))) == pytest.approx(golden, abs=1e-6)


def test_loss_is_the_formula_and_zero_for_one_pair() -> None:
    z, y = unit_rows(0), unit_rows(1)
    assert float(contrastive_loss(torch.tensor(z), torch.tensor(y))) == pytest.approx(loss_in_plain_numbers(z, y))
    assert float(contrastive_loss(torch.tensor(z[:1]), torch.tensor(y[:1]))) == pytest.approx(0, abs=1e-9)
    same = np.tile(z[:1], (4, 1))
    assert float(contrastive_loss(torch.tensor(same), torch.tensor(same))) == pytest.approx(loss_of_equals(4))


def test_validation_compares_the_whole_set_whatever_the_batches(tmp_path: Path) -> None:
    scores = []
    for size in (1, 3, 8):
        trainer = make(tmp_path, batch_size=size)
        scores.append(trainer.evaluate(trainer.valid_loader))
    assert scores[1] == pytest.approx(scores[0], rel=1e-4)
    assert scores[2] == pytest.approx(scores[0], rel=1e-4)
    assert scores[0].keys() >= {"loss", "loss_base", "recall_at_1", "recall_at_5", "mean_reciprocal_rank"}
    found = make(tmp_path).model.infer(collate_pairs(ITEMS))
    assert scores[0]["loss"] == pytest.approx(float(contrastive_loss(found.pred, found.cmplx_pred)), rel=1e-4)


def test_large_sets_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    z, y = unit_rows(0, 8), unit_rows(1, 8)
    monkeypatch.setattr("trainers.prot_interface_trainer.MOST_PAIRS", 4)
    parts = [pair_metrics(z[rows], y[rows]) for rows in (slice(0, 4), slice(4, 8))]
    whole = pair_metrics(z, y)
    assert whole == pytest.approx({name: (parts[0][name] + parts[1][name]) / 2 for name in whole})


def test_a_few_pairs_are_learnt_and_the_complex_encoder_stays(tmp_path: Path) -> None:
    trainer = make(tmp_path, batch_size=8, lr=5e-3, max_epoch=80, valid_every=40, lr_schedule="none")
    frozen = {name: p.clone() for name, p in trainer.model.cmplx_model.named_parameters()}
    trainer.train(gpus=[-1])
    first, last = trainer.history[0], trainer.history[-1]
    assert last["train"]["loss"] < 0.8 * first["train"]["loss_base"]
    assert last["valid"]["mean_reciprocal_rank"] > 0.6
    for name, p in trainer.model.cmplx_model.named_parameters():
        assert torch.equal(p, frozen[name])


def test_embeddings_start_apart(tmp_path: Path) -> None:
    """Next to the point where all are equal, the loss has no slope."""
    found = make(tmp_path).model.infer(collate_pairs(ITEMS))
    for embeddings in (found.pred, found.cmplx_pred):
        cosines = embeddings @ embeddings.T
        assert float(cosines[~torch.eye(len(ITEMS), dtype=torch.bool)].mean()) < 0.97


def test_a_saved_model_embeds_one_side(tmp_path: Path) -> None:
    trainer = make(tmp_path / "run")
    trainer.train(gpus=[-1])
    sides = collate_items([one_segment(item) for item in ITEMS])
    loaded = from_pretrained(tmp_path / "run" / "version_0" / "checkpoint" / "best")
    found = loaded.infer(sides).pred
    torch.testing.assert_close(found, trainer.model.infer(sides).pred)
    assert found.shape == (len(ITEMS), 8)


def test_batches_without_complexes_are_refused_by_name(tmp_path: Path) -> None:
    trainer = make(tmp_path)
    with pytest.raises(DataError, match="item0: holds no complexes"):
        trainer.share_step(collate_items([one_segment(ITEMS[0])]), 0)


def test_two_ranks_train_like_one(tmp_path: Path) -> None:
    """Shares of one and three pairs: the pairs of the other rank are compared with, too."""
    paths = [str(HERE.parents[1]), str(HERE), os.environ.get("PYTHONPATH", "")]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv_backend", "c10d"]
    command += ["--rdzv_endpoint", "localhost:0", str(HERE / "two_ranks_contrastive.py"), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    one, other = (json.loads((tmp_path / f"rank{r}.json").read_text()) for r in (0, 1))
    assert one == other
    alone: dict[str, Any] = two_ranks_contrastive.run(tmp_path / "alone")
    assert one["weights"] == pytest.approx(alone["weights"], rel=1e-3, abs=1e-5)
    assert one["losses"] == pytest.approx(alone["losses"], rel=1e-4)
    assert one["valid"] == pytest.approx(alone["valid"], rel=1e-3)
