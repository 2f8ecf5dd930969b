"""Losses in phases inside a run: what is judged means the same throughout, and geometric models use them, too."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from contract_rows import SIZES, history, make_data, run_row

from configs.errors import ConfigError
from configs.task_options import LabelOptions
from data.labels import LabelScale
from models.losses import PhasedRegressionLoss
from trainers.regression_loss import regression_loss

FIVE = f"{SIZES} --max_epoch 5 --no_final_report --phase_boundaries 1 3"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("phased")
    make_data(folder)
    return folder


@pytest.mark.parametrize("row", ["PDBBind", "composition"])
def test_best_not_reset_by_phase(row: str, data: Path, tmp_path: Path) -> None:
    """The validation loss changes its meaning twice; the best epoch is that of the smallest MAE of all."""
    trainer = run_row(row, data, tmp_path, f"{FIVE} --lr 0.01")
    assert trainer.monitor.name == "mae"
    records = history(trainer)
    errors = [record["valid"]["mae"] for record in records]
    losses = [record["valid"]["loss"] for record in records]
    assert losses[0] == pytest.approx(errors[0] / trainer.scale.std[0], rel=1e-5)
    assert max(losses[1:]) <= 1  # relative errors and the band
    assert trainer.best_valid_metric == min(errors) and trainer.best_epoch == errors.index(min(errors))
    assert json.loads((trainer.save_dir / "train_config.json").read_text())["options"]["phase_boundaries"] == [1, 3]


def test_the_loss_can_not_choose_the_best_epoch_of_several_phases(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--monitor: 'loss' can't choose the best epoch with --phase_boundaries"):
        run_row("composition", data, tmp_path, f"{FIVE} --monitor loss")


@pytest.mark.parametrize("loss", ["mae", "combined", "smape", "mse"])
def test_every_mixture_trains_a_geometric_model(loss: str, data: Path, tmp_path: Path) -> None:
    trainer = run_row("regression", data, tmp_path, f"{SIZES} --max_epoch 1 --no_final_report --loss_config {loss}")
    (batch, *_) = trainer.train_loader
    output = trainer.share_step(batch, 0)
    raw = trainer.scale.inverse(output.pred.reshape(-1, 1)), batch["label"].reshape(-1, 1)
    learnt = output.pred.reshape(-1, 1), trainer.scale.forward(raw[1])
    expected = PhasedRegressionLoss(loss)(*learnt, raw=raw)
    assert output.loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_relative_errors_are_in_the_unit_of_the_data_and_absolute_bands_in_that_of_the_scores() -> None:
    scale = LabelScale(("K",), "pK_from_nM", data_unit="nM", unit="pK", mean=(6.0,), std=(2.0,))
    outputs, targets = torch.tensor([[0.5]]), torch.tensor([[0.0]])  # pK 7 and 6: 100 nM and 1000 nM
    relative = regression_loss(LabelOptions(phase_boundaries=(0, 9)))
    assert relative(outputs, targets, scale, 0).item() == pytest.approx(900 / 1100, rel=1e-5)
    options: dict[str, Any] = {"phase_boundaries": (0, 0), "band_tau": 1.0}
    inside = regression_loss(LabelOptions(**options, band_mode="absolute"))
    assert inside(outputs, targets, scale, 5).item() == pytest.approx(0.5, abs=1e-5)
    far = torch.tensor([[-300.0]]).requires_grad_()  # 10^603 nM
    loss = relative(far, targets, scale, 0)
    loss.sum().backward()
    assert torch.isfinite(loss).all() and torch.isfinite(far.grad).all()  # type: ignore[arg-type]


def test_two_losses_at_once_are_refused() -> None:
    with pytest.raises(ConfigError, match="--regression_loss: must be left out with --loss_config"):
        LabelOptions(regression_loss="huber", loss_config="mae")
    with pytest.raises(ConfigError, match="--phase_boundaries: must be two ascending epochs"):
        LabelOptions(phase_boundaries=(4,))
