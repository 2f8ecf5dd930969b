"""Pretraining: what is measured does not depend on batches, and every part stands beside its base."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from configs.errors import DataError
from configs.schema import RunConfig, from_flat
from data.collate import collate_items
from data.item import Item
from data.noise import PretrainTransform
from data.vocab import load_vocabulary
from models import DenoisePretrainModel, DenoisePretrainModelWithBlockEmbedding, create_model
from trainers import (
    TRAINERS,
    PretrainMaskingNoisingTrainer,
    PretrainMaskingNoisingTrainerWithBlockEmbedding,
    PretrainTrainer,
    TrainConfig,
    Trainer,
    create_trainer,
    register_trainer,
)

SIZES: dict[str, Any] = {
    "atom_hidden_size": 16,
    "block_hidden_size": 16,
    "edge_size": 8,
    "k_neighbors": 3,
    "n_layers": 1,
}
NOISE = {"torsion_noise": 0.5, "translation_noise": 1.0, "rotation_noise": 0.25, "rot_weight": 0.1}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def make_item(seed: int, n_blocks: int = 6, torsions: bool = True, **changes: Any) -> Item:
    """Blocks of four atoms in a chain, two segments; with `torsions`, one rotatable bond a block."""
    rng = np.random.default_rng(seed)
    n_atoms = 4 * n_blocks
    starts = np.arange(0, n_atoms, 4)
    bonds = np.stack([starts + 1, starts + 2], axis=1).astype(np.int32)
    given: dict[str, Any] = {
        "tor_bonds": bonds,
        "tor_depth": np.zeros(n_blocks, np.uint8),
        "tor_moved_lengths": np.ones(n_blocks, np.int32),
        "tor_moved": (starts + 3).astype(np.int32),
    }
    return Item(
        id=f"item{seed}",
        X=(np.repeat(rng.normal(size=(n_blocks, 3)) * 6, 4, axis=0) + rng.normal(size=(n_atoms, 3))).astype(np.float32),
        A=rng.integers(8, 12, n_atoms).astype(np.uint8),
        B=rng.integers(4, 10, n_blocks).astype(np.uint16),
        block_lengths=np.full(n_blocks, 4, np.int32),
        segment_ids=(np.arange(n_blocks) >= n_blocks // 2).astype(np.uint8),
        modality=0,
        **((given if torsions else {}) | changes),
    )


def make_run(**options: Any) -> RunConfig:
    return from_flat(SIZES | NOISE | options)


def noised(run: RunConfig, items: list[Item]) -> list[Item]:
    transform = PretrainTransform(run.noise, None)
    return [transform(item, np.random.default_rng([1, number])) for number, item in enumerate(items)]


def loader(items: list[Item], batch_size: int) -> DataLoader:
    return DataLoader(items, batch_size=batch_size, collate_fn=collate_items)  # type: ignore[arg-type]


def make(folder: Path, run: RunConfig, items: list[Item], batch_size: int = 2, **options: Any) -> Any:
    torch.manual_seed(0)
    model = create_model(run, load_vocabulary(None))
    options = {"progress": False, "use_tensorboard": False, "max_epoch": 1} | options
    data = loader(noised(run, items), batch_size)
    return create_trainer(model, data, data, TrainConfig(folder, **options))


ITEMS = [make_item(seed, 6 + seed % 3, torsions=seed % 3 != 1) for seed in range(7)]


def test_validation_does_not_depend_on_batches(tmp_path: Path) -> None:
    """Items with and without torsions, of different sizes and numbers of masks, in batches of 1, 3 and 7."""
    run = make_run(mask_proportion=0.3)
    scores = []
    for size in (1, 3, 7):
        trainer = make(tmp_path, run, ITEMS, size)
        scores.append(trainer.evaluate(trainer.valid_loader))
    for other in scores[1:]:
        assert other == pytest.approx(scores[0], rel=1e-4)


def test_every_part_stands_beside_its_base(tmp_path: Path) -> None:
    trainer = make(tmp_path, make_run(mask_proportion=0.3), ITEMS)
    trainer.train(gpus=[-1])
    (record,) = trainer.history
    for part in ("train", "valid"):
        for name in ("torsion", "translation", "rotation", "masked"):
            assert {f"{name}_loss", f"{name}_base"} <= record[part].keys()
        assert {"masked_accuracy", "masked_accuracy_top5"} <= record[part].keys()
    valid = record["valid"]
    assert 0 <= valid["masked_accuracy"] <= valid["masked_accuracy_top5"] <= 1


def test_total_is_the_weighted_sum(tmp_path: Path) -> None:
    trainer = make(tmp_path, make_run(mask_proportion=0.3, mask_weight=0.5), ITEMS)
    scores = trainer.evaluate(trainer.valid_loader)
    parts = {name: scores[f"{name}_loss"] for name in ("torsion", "translation", "rotation", "masked")}
    weights = {"torsion": 1, "translation": 1, "rotation": 0.1, "masked": 0.5}
    assert scores["loss"] == pytest.approx(sum(weights[name] * value for name, value in parts.items()))


def test_terms_of_several_ranks_add_up_to_the_loss(tmp_path: Path) -> None:
    trainer = make(tmp_path, make_run(mask_proportion=0.3), ITEMS, batch_size=7)
    (batch,) = trainer.valid_loader
    output = trainer.share_step(batch, 0)
    terms = trainer.loss_terms(output)
    assert float(sum(terms.values()).detach()) == pytest.approx(float(output.loss.detach()))
    assert terms.keys() <= trainer.part_counts(batch).keys()


def test_masked_accuracy_and_majority_rate(tmp_path: Path) -> None:
    run = make_run(mask_proportion=0.3)
    trainer = make(tmp_path, run, ITEMS)
    scores = trainer.evaluate(trainer.valid_loader)
    labels: list[int] = []
    hits: list[bool] = []
    with torch.no_grad():
        for batch in trainer.valid_loader:
            logits: Tensor = trainer.model.eval()(batch).masked_logits
            labels += batch["masked_labels"].tolist()
            hits += (logits.argmax(1) == batch["masked_labels"]).tolist()
    assert scores["masked_accuracy"] == pytest.approx(np.mean(hits))
    assert scores["masked_majority_rate"] == pytest.approx(np.bincount(labels).max() / len(labels))


@pytest.mark.parametrize("torsions", [True, False])
def test_no_parameter_is_unused_when_a_segment_is_moved(tmp_path: Path, torsions: bool) -> None:
    trainer = make(tmp_path, make_run(mask_proportion=0.3), [make_item(0, torsions=torsions)])
    (batch,) = trainer.train_loader
    trainer.share_step(batch, 0).loss.backward()
    unused = [name for name, p in trainer.model.named_parameters() if p.grad is None and p.numel()]
    assert unused == []


def test_learns_a_few_items(tmp_path: Path) -> None:
    trainer = make(tmp_path, make_run(mask_proportion=0.3), ITEMS[:2], lr=5e-3, max_epoch=25, lr_schedule="none")
    trainer.train(gpus=[-1])
    first, last = trainer.history[0]["train"], trainer.history[-1]["train"]
    assert last["loss"] < 0.7 * first["loss"]
    assert last["masked_accuracy"] > first["masked_accuracy"]


def test_table_of_trainers(tmp_path: Path) -> None:
    assert type(make(tmp_path, make_run(mask_proportion=0.3), ITEMS)) is PretrainMaskingNoisingTrainer
    assert type(make(tmp_path, make_run(), ITEMS)) is PretrainTrainer
    embedded = make(tmp_path, make_run(mask_proportion=0.3, block_embedding_size=4), ITEMS)
    assert type(embedded) is PretrainMaskingNoisingTrainerWithBlockEmbedding
    assert set(TRAINERS) >= {DenoisePretrainModel, DenoisePretrainModelWithBlockEmbedding}


def test_dispatch_is_by_exact_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Derived(DenoisePretrainModel):
        pass

    torch.manual_seed(0)
    model = Derived(create_model(make_run(), load_vocabulary(None)).config)
    known = "AffinityPredictor, ClassifierModel, CompositionModel, DenoisePretrainModel, "
    with pytest.raises(NotImplementedError, match=rf"no trainer for Derived; known models: {known}"):
        create_trainer(model, [], None, TrainConfig(tmp_path))
    monkeypatch.setattr("trainers.TRAINERS", dict(TRAINERS))
    register_trainer(Derived, PretrainTrainer)
    assert isinstance(create_trainer(model, loader([], 1), None, TrainConfig(tmp_path)), Trainer)


def test_block_vectors_are_asked_for(tmp_path: Path) -> None:
    run = make_run(mask_proportion=0.3, block_embedding_size=4)
    with pytest.raises(DataError, match="item0: has no block_embeddings, which --block_embedding_size asks for"):
        make(tmp_path, run, ITEMS).train(gpus=[-1])
    items = [
        item.with_(block_embeddings=np.random.default_rng(0).normal(size=(item.n_blocks, 4)).astype(np.float32))
        for item in ITEMS
    ]
    trainer = make(tmp_path, run, items)
    trainer.train(gpus=[-1])
    assert trainer.global_step == 4


def test_default_schedule_is_cosine_with_restarts(tmp_path: Path) -> None:
    trainer = make(tmp_path, make_run(), ITEMS, lr=1e-3, final_lr=1e-5, cycle_steps=2)
    curve = trainer.scheduler.curve
    assert [curve(k) for k in (0, 1, 2)] == pytest.approx([1e-3, 5.05e-4, 1e-3])
