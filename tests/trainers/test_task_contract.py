"""What every task promises: it starts from anything, is stored and read back as it was, learns, and shares its work.

`contract_rows.ROWS` has a row for every task, and for those with external vectors of blocks and several targets.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import two_ranks_tasks
from contract_rows import GEOMETRIC, MODELS, ROWS, SIZES, history, make_data, run_row

from configs.schema import TASKS
from models import create_model, from_pretrained, save_pretrained
from models.persistence import load_published
from trainers import TRAINERS

HERE = Path(__file__).parent
PUBLISHED = HERE.parent / "fixtures" / "parity" / "DenoisePretrainModel"
TOLERANCE = {"rel": 2e-3, "abs": 2e-4}  # float32 sums in another order, over two steps of Adam
SHARE_OF_LOSS = {"prot_interface": 0.5}  # a contrastive loss has a floor above 0
RATES = {"prot_interface": 2e-3}
LITTLE, STEPS = 0.35, 150


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("contract")
    make_data(folder)
    return folder


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of ours whose sizes differ from every default."""
    torch.manual_seed(0)
    sizes = {"atom_hidden_size": 8, "block_hidden_size": 8, "edge_size": 6, "n_layers": 2, "k_neighbors": 3}
    model = create_model("DenoisePretrainModel", fragmentation_method="PS_300", global_message_passing=True, **sizes)
    folder = tmp_path_factory.mktemp("ours")
    save_pretrained(model, folder)
    return folder


def check_run(trainer: Any, row: str) -> None:
    """The run trained one epoch, and its stored model gives the numbers that it had."""
    (epoch,) = history(trainer)
    assert type(trainer.model).__name__ == MODELS[row]
    assert epoch["step"] == 2 and epoch["skipped_steps"] == 0
    assert all(value == value for name, value in epoch["train"].items()), epoch
    before = {name: p.clone() for name, p in trainer.model.state_dict().items()}
    stored = from_pretrained(trainer.save_dir / "checkpoint" / "best")
    assert {name: p for name, p in stored.state_dict().items() if not torch.equal(p, before[name])} == {}
    trainer.model = stored
    assert trainer.evaluate(trainer.valid_loader) == pytest.approx(epoch["valid"], rel=1e-6, nan_ok=True)


def test_every_task_has_a_row() -> None:
    assert {options.split()[1] for _, options in ROWS.values()} == set(TASKS)
    assert set(ROWS) == set(MODELS)
    assert {kind.__name__ for kind in TRAINERS} == set(MODELS.values())


@pytest.mark.parametrize("row", ROWS)
def test_from_scratch(row: str, data: Path, tmp_path: Path) -> None:
    trainer = run_row(row, data, tmp_path, f"{SIZES} --max_epoch 1 --no_final_report")
    check_run(trainer, row)
    assert not (trainer.save_dir / "finetune.json").exists()


def encoder_of(model: Any) -> Any:
    return getattr(model, "prot_model", model)


@pytest.mark.parametrize("row", GEOMETRIC)
def test_from_our_checkpoint(row: str, data: Path, tmp_path: Path, ours: Path) -> None:
    """Without a word about sizes, those of the checkpoint are taken; with a tiny rate its weights are still there."""
    start = f"--pretrain_ckpt {ours} --max_epoch 1 --lr 1e-9 --bootstrap 5 --projector_hidden_size 4"
    check_start(run_row(row, data, tmp_path, start), row, from_pretrained(ours))


@pytest.mark.parametrize("row", GEOMETRIC)
def test_from_a_published_checkpoint(row: str, data: Path, tmp_path: Path) -> None:
    config, weights = PUBLISHED / "config.json", PUBLISHED / "weights.safetensors"
    start = f"--pretrain_config {config} --pretrain_weights {weights} --max_epoch 1 --lr 1e-9 --no_final_report"
    check_start(
        run_row(row, data, tmp_path, f"{start} --projector_hidden_size 4"), row, load_published(config, weights)
    )


def check_start(trainer: Any, row: str, source: Any) -> None:
    found, wanted = encoder_of(trainer.model).config, source.config
    for name in ("atom_hidden_size", "edge_size", "n_layers", "k_neighbors", "padding", "unknown_blocks"):
        assert getattr(found, name) == getattr(wanted, name), name
    mine, theirs = encoder_of(trainer.model).state_dict(), source.state_dict()
    common = [name for name in theirs if name in mine and "ffn" not in name]
    assert len(common) > 40
    assert all(torch.allclose(mine[name], theirs[name], atol=1e-6) for name in common)
    report = json.loads((trainer.save_dir / "finetune.json").read_text())
    assert len(report["loaded"]) >= len(common)
    check_run(trainer, row)


@pytest.mark.parametrize("row", ROWS)
def test_eight_items_are_learnt_by_heart(row: str, data: Path, tmp_path: Path) -> None:
    """One batch of all eight (with their noise, where there is some) again and again."""
    wide = SIZES.replace("size 8", "size 16")
    trainer = run_row(row, data, tmp_path, f"{wide} --max_epoch 1 --lr 1e-9 --no_final_report", batch_size=8)
    (batch,) = trainer.train_loader
    optimiser = torch.optim.Adam([p for p in trainer.model.parameters() if p.requires_grad], lr=RATES.get(row, 5e-3))
    trainer.model.train()
    first = last = trainer.train_step(batch, 0).loss
    for _ in range(STEPS):
        optimiser.zero_grad()
        last.backward()
        optimiser.step()
        last = trainer.train_step(batch, 0).loss
        if last < SHARE_OF_LOSS.get(row, LITTLE) * first:
            return
    pytest.fail(f"{row}: the loss went from {first:.3f} to {last:.3f} only")


@pytest.fixture(scope="module")
def ranks(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """History and weights of every row, trained by two processes and by one."""
    folder = tmp_path_factory.mktemp("ranks")
    path = os.pathsep.join([str(HERE.parents[1]), str(HERE), os.environ.get("PYTHONPATH", "")])
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    launcher += ["--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0", str(HERE / "two_ranks_tasks.py")]
    done = subprocess.run(
        [*launcher, str(data), str(folder)],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = {name: json.loads((folder / f"{name}.json").read_text()) for name in ("rank0", "rank1")}
    return found | {"alone": {row: two_ranks_tasks.result(row, data, folder / "alone") for row in ROWS}}


def scores_of(result: dict[str, Any]) -> dict[str, float]:
    """Scores of the final report; what was not defined is written as null."""
    scores = result["report"]["sets"]["valid"]["scores"]
    return {name: float("nan") if score["value"] is None else score["value"] for name, score in scores.items()}


@pytest.mark.parametrize("row", ROWS)
def test_two_ranks_agree_with_one(row: str, ranks: dict[str, Any]) -> None:
    two, other, one = ranks["rank0"][row], ranks["rank1"][row], ranks["alone"][row]
    assert two["weights"] == other["weights"]
    assert two["weights"] == pytest.approx(one["weights"], **TOLERANCE)
    for part in ("train", "valid"):
        assert two["history"][0][part] == pytest.approx(one["history"][0][part], nan_ok=True, **TOLERANCE)
    if one["report"] is not None:
        for name, score in scores_of(one).items():
            assert scores_of(two)[name] == pytest.approx(score, nan_ok=True, **TOLERANCE), name
