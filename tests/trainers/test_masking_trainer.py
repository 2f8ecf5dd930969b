"""Naming masked blocks without noise: what is measured depends on masked blocks, not on batches."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_pretrain_trainer import ITEMS, SIZES, loader, make_item

from configs.errors import DataError
from configs.options import NoiseOptions
from data.noise import PretrainTransform
from models import create_model
from trainers import TrainConfig
from trainers.masking_trainer import MaskingTrainer


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def masked(items: list, proportion: float = 0.3) -> list:
    transform = PretrainTransform(NoiseOptions(mask_proportion=proportion))
    return [transform(item, np.random.default_rng([1, number])) for number, item in enumerate(items)]


def make(folder: Path, items: list, batch_size: int = 3, **options: Any) -> MaskingTrainer:
    torch.manual_seed(0)
    model = create_model("MaskedNodeModel", **SIZES, num_block_types=150, num_masked_block_classes=146)
    options = {"progress": False, "use_tensorboard": False, "max_epoch": 1, "monitor": "loss"} | options
    data = loader(items, batch_size)
    return MaskingTrainer(model, data, data, TrainConfig(folder, **options))


def test_masks_come_without_noise() -> None:
    for before, after in zip(ITEMS, masked(ITEMS)):
        left = np.repeat(~after.masked_blocks, before.block_lengths)
        assert np.isin(before.X[left], after.X).all()
        assert after.noisy_segment is after.tor_score is after.tr_score is after.atom_score is None
        assert after.tor_bonds is None
        assert (after.B[after.masked_blocks] == 1).all()


def test_validation_does_not_depend_on_batches(tmp_path: Path) -> None:
    scores = []
    for size in (1, 3, 7):
        trainer = make(tmp_path, masked(ITEMS), size)
        scores.append(trainer.evaluate(trainer.valid_loader))
    assert scores[1] == pytest.approx(scores[0], rel=1e-4)
    assert scores[2] == pytest.approx(scores[0], rel=1e-4)
    assert scores[0].keys() >= {"loss", "masked_base", "masked_accuracy", "masked_accuracy_top5"}


def test_accuracies_and_majority_rate_by_hand(tmp_path: Path) -> None:
    trainer = make(tmp_path, masked(ITEMS))
    scores = trainer.evaluate(trainer.valid_loader)
    outputs = [(trainer.model.infer(batch), batch["masked_labels"]) for batch in trainer.valid_loader]
    logits, labels = (torch.cat(parts) for parts in zip(*((o.logits, label) for o, label in outputs)))
    assert scores["masked_accuracy"] == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
    assert scores["loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)), rel=1e-5)
    assert scores["masked_base"] == pytest.approx(np.log(146))
    assert scores["masked_majority_rate"] == pytest.approx(np.bincount(labels.numpy()).max() / len(labels))


def test_learns_a_few_items(tmp_path: Path) -> None:
    trainer = make(tmp_path, masked(ITEMS[:3]), lr=1e-2, max_epoch=30, lr_schedule="none")
    trainer.train(gpus=[-1])
    first, last = trainer.history[0]["valid"], trainer.history[-1]["valid"]
    assert last["loss"] < 0.5 * first["loss"]
    assert last["masked_accuracy"] > max(first["masked_accuracy"], last["masked_majority_rate"])


def test_terms_of_several_ranks_are_counted_by_masked_blocks(tmp_path: Path) -> None:
    trainer = make(tmp_path, masked(ITEMS), batch_size=7)
    (batch,) = trainer.train_loader
    terms, counts = trainer.loss_terms(trainer.share_step(batch, 0)), trainer.part_counts(batch)
    assert terms.keys() == {"masked"}
    assert counts["masked"] == (len(batch["masked_labels"]),) * 2


def test_items_without_masks_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"item0: has no masked blocks .*--mask_proportion"):
        make(tmp_path, [make_item(0)]).train(gpus=[-1])
