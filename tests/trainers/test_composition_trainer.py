"""The composition model from a data set: what training, saving and predicting promise."""

import inspect
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from configs.errors import CheckpointError, ConfigError, DataError
from data import InterfaceDataset, unknown_fraction
from data.composition import CompositionLoader
from data.item import Item
from data.labels import LabelScale
from data.sampler import BatchSampler
from data.shards import write_part
from data.vocab import load_vocabulary
from models import create_model, save_pretrained
from models.block_encoders import ENCODINGS
from models.composition import CompositionModel
from models.composition_predict import predict_targets
from trainers import CompositionTrainer, TrainConfig, create_trainer

NAN = float("nan")
QUICK: dict[str, Any] = {"hidden_dims": [16], "dropout": 0.0, "max_epochs": 2, "block_embed_dim": 8, "lr": 0.01}


def item(seed: int) -> Item:
    """Four to nine blocks of two atoms; three items a group."""
    rng = np.random.default_rng(seed)
    n = 4 + seed % 6
    return Item(
        id=f"i{seed:02d}",
        group=f"g{seed // 3}",
        X=rng.normal(size=(2 * n, 3)).astype("f4"),
        A=np.full(2 * n, 8, "u1"),
        B=rng.integers(4, 16, n).astype("u2"),
        block_lengths=np.full(n, 2, "i4"),
        segment_ids=(np.arange(n) >= n // 2).astype("u1"),
    )


ITEMS = [item(seed) for seed in range(30)]
MEASURED = [float((one.B < 10).mean() * 4 + 4) for one in ITEMS]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def mixed() -> InterfaceDataset:
    """A number and a class, each with holes."""
    pK = [NAN if n % 4 == 1 else value for n, value in enumerate(MEASURED)]
    site = ["" if n % 5 == 2 else ("ion" if one.B[0] < 10 else "drug") for n, one in enumerate(ITEMS)]
    return InterfaceDataset(ITEMS, {"pK": pK, "site": site})


def numbers() -> InterfaceDataset:
    return InterfaceDataset(ITEMS, {"pK": MEASURED})


@pytest.fixture(scope="module")
def fitted() -> CompositionTrainer:
    torch.set_num_threads(1)
    trainer = CompositionTrainer(mixed(), **QUICK | {"max_epochs": 4})
    trainer.fit()
    return trainer


def test_builds_from_schema() -> None:
    trainer = CompositionTrainer(mixed(), block_encoding="embed", **QUICK)
    config = trainer.model.config
    assert (config.targets, config.kinds, config.outputs) == (
        ("pK", "site"),
        ("regression", "classification"),
        (1, 2),
    )
    assert config.blocks == load_vocabulary().blocks
    held = {load_vocabulary().symbol(int(kind)) for one in trainer.train_set.parts[0] for kind in one.B}
    assert set(config.vocabulary) == held


def test_requires_dataset() -> None:
    with pytest.raises(TypeError, match="dataset"):
        CompositionTrainer()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"a data\.InterfaceDataset is needed, not list"):
        CompositionTrainer(ITEMS)  # type: ignore[arg-type]


def test_defaults_are_the_documented_ones() -> None:
    run = CompositionTrainer(numbers()).run
    found = run.composition
    assert (found.block_encoding, found.hash_dim, found.block_embed_dim, found.top_k) == ("hash", 32, 32, 5)
    assert (found.top_k_blocks, run.encoder.dropout, run.data.batch_size) == (10, 0.3, 32768)
    assert found.hidden_dims == "2048,1024,512,256,128,64" and run.train.save_dir is None
    assert (run.label.phase_boundaries, run.label.band_tau, run.label.band_beta) == ((), 0.25, 0.05)
    assert run.label.band_mode == "relative"
    assert (run.train.max_epoch, run.train.patience, run.train.lr, run.label.loss_config) == (500, 50, 1e-3, "mae")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block_encoding": "nope"}, "'hash' or 'embed' or 'rank_pool' or 'transformer'"),
        ({"loss_config": "rmse"}, "'mae' or 'combined' or 'smape' or 'mse'"),
        ({"dropout": 1.0}, r"--dropout: must be in \[0, 1\)"),
        ({"hash_dims": 3}, r"unknown option 'hash_dims' \(did you mean 'hash_dim'\?\)"),
        ({"targets": {"pK": "ranking"}}, "--target_types: must be NAME:TYPE, got 'pK:ranking'"),
        ({"targets": {"Kd": "regression"}}, "--targets: the data hold no target 'Kd'"),
        ({"valid_fraction": 1.5}, "valid_fraction: must be between 0 and 1"),
        ({"device": "abacus"}, "'abacus' is no device"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CompositionTrainer(numbers(), **options)


def test_a_device_is_found() -> None:
    """A GPU where there is one; the model of a checkpoint is put there, too (`load(path, device="auto")`)."""
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert CompositionTrainer(numbers(), **QUICK).device.type == expected
    assert CompositionTrainer(numbers(), **QUICK, device="cpu").device.type == "cpu"
    assert inspect.signature(CompositionTrainer.load).parameters["device"].default == "auto"


def test_batch_cap() -> None:
    """More items a batch than there are: every item trains, in one step an epoch."""
    trainer = CompositionTrainer(numbers(), **QUICK, batch_size=32768)
    assert [record["step"] for record in trainer.fit().history] == [1, 2]


def test_max_epochs() -> None:
    result = CompositionTrainer(numbers(), **QUICK | {"max_epochs": 3, "patience": 50}).fit()
    assert [record["epoch"] for record in result.history] == [0, 1, 2] and result.stopped_epoch == 2


def test_stops_after_patience() -> None:
    """A rate too small to move a weight: the first epoch stays the best."""
    options = QUICK | {"max_epochs": 30, "patience": 3, "lr": 1e-30}
    result = CompositionTrainer(numbers(), **options).fit()
    assert (result.best_epoch, result.stopped_epoch) == (0, 3)


def test_fit_result_fields(fitted: CompositionTrainer) -> None:
    result = fitted.result
    assert result is not None and result.best_epoch <= result.stopped_epoch == 3
    assert set(result.final_metrics) == {"pK", "site"}
    assert {"mae", "smape", "band_5pct", "band_10pct", "band_20pct"} <= set(result.final_metrics["pK"])
    assert {"accuracy", "f1_macro"} <= set(result.final_metrics["site"])
    best = result.history[result.best_epoch]["valid"]
    assert result.final_metrics["pK"]["mae"] == pytest.approx(best["mae/pK"])
    assert result.final_metrics["site"]["accuracy"] == pytest.approx(best["accuracy/site"])
    assert all({"train", "valid", "lr"} <= set(record) for record in result.history)


def test_final_metrics_of_a_single_target() -> None:
    result = CompositionTrainer(numbers(), **QUICK).fit()
    assert set(result.final_metrics) == {"pK"}
    best = result.history[result.best_epoch]["valid"]
    assert result.final_metrics["pK"]["mae"] == pytest.approx(best["mae"])


def test_groups_are_not_torn() -> None:
    trainer = CompositionTrainer(numbers(), **QUICK, valid_fraction=0.3)
    assert trainer.valid_set is not None
    train, valid = ({one.group for one in part.parts[0]} for part in (trainer.train_set, trainer.valid_set))
    assert not train & valid and 9 <= len(trainer.valid_set) <= 11
    assert len(train) + len(valid) == 10
    everything = CompositionTrainer(numbers(), **QUICK, valid_fraction=0.0)
    result = everything.fit()
    assert len(everything.train_set) == 30 and result.final_metrics == {} and result.best_epoch == 1


def test_before_fit_nothing_is_saved_or_predicted(tmp_path: Path) -> None:
    trainer = CompositionTrainer(numbers(), **QUICK)
    with pytest.raises(RuntimeError, match=r"call fit\(\) before predict\(\)"):
        trainer.predict(numbers())


def test_save_before_fit_raises(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"call fit\(\) before save\(\)"):
        CompositionTrainer(numbers(), **QUICK).save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_load_roundtrip(fitted: CompositionTrainer, tmp_path: Path) -> None:
    path = tmp_path / "made" / "of" / "nothing"
    fitted.save(path)
    assert {"model.safetensors", "config.json", "manifest.json"} <= {file.name for file in path.iterdir()}
    model, encoder, scalers = CompositionTrainer.load(path)
    assert isinstance(model, CompositionModel) and encoder is model.encoding and not model.training
    assert isinstance(scalers["pK"], LabelScale) and scalers["site"] == ("drug", "ion")
    before, after = fitted.predict(mixed()), predict_targets(model, mixed())
    for name in ("pK", "site"):
        np.testing.assert_array_equal(before[name], after[name])


def test_a_changed_byte_and_another_model_are_refused(fitted: CompositionTrainer, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match="is damaged"):
        CompositionTrainer.load(tmp_path / "model")
    save_pretrained(create_model("PredictionModel", atom_hidden_size=8, block_hidden_size=8), tmp_path / "other")
    with pytest.raises(CheckpointError, match="holds a PredictionModel, not a CompositionModel"):
        CompositionTrainer.load(tmp_path / "other")


@pytest.mark.parametrize("name", ENCODINGS)
def test_predict_all_modes(name: str) -> None:
    trainer = CompositionTrainer(mixed(), block_encoding=name, **QUICK)
    trainer.fit()
    found = trainer.predict(InterfaceDataset(ITEMS[:7]))
    assert {name: values.shape for name, values in found.items()} == {"pK": (7,), "site": (7,)}
    assert all(values.dtype == np.float64 and np.isfinite(values).all() for values in found.values())
    assert set(found["site"]) <= {0.0, 1.0}


def test_output_space() -> None:
    """Raw is nM, transformed the pK that was learnt."""
    nM = 10 ** (9 - np.array(MEASURED))
    trainer = CompositionTrainer(InterfaceDataset(ITEMS, {"K": nM}), label_transform="pK_from_nM", **QUICK)
    trainer.fit()
    pK, raw = trainer.predict(numbers(), "transformed")["K"], trainer.predict(numbers())["K"]
    np.testing.assert_allclose(raw, 10 ** (9 - pK), rtol=1e-9)
    assert 3 < pK.mean() < 9
    with pytest.raises(ValueError, match="output_space: must be one of raw, transformed, got 'log'"):
        trainer.predict(numbers(), "log")


def test_logarithm_of_one_more_than_the_value() -> None:
    counts = np.arange(30.0)
    trainer = CompositionTrainer(InterfaceDataset(ITEMS, {"n": counts}), label_transform="log1p", **QUICK)
    trainer.fit()
    log, raw = trainer.predict(numbers(), "transformed")["n"], trainer.predict(numbers())["n"]
    np.testing.assert_allclose(raw, np.expm1(log), rtol=1e-9)


def test_threshold_inclusive(fitted: CompositionTrainer) -> None:
    """Three of four blocks are known: kept at 0.75, left out above; the class goes by its probability."""
    seen = sorted(fitted.model.config.seen)
    known = item(0).with_(B=np.array([*seen[:3], 100], "u2"))
    assert unknown_fraction(known, fitted.model.config.seen) == 0.25
    data = InterfaceDataset([known])
    assert np.isfinite(fitted.predict(data, confidence_threshold=0.75)["pK"]).all()
    assert np.isnan(fitted.predict(data, confidence_threshold=0.7500001)["pK"]).all()
    everything, nothing = fitted.predict(data), fitted.predict(data, confidence_threshold=1.0)
    assert np.isfinite(everything["site"]).all() and np.isnan(nothing["site"]).all()
    for wrong in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="confidence_threshold: must be between 0 and 1"):
            fitted.predict(data, confidence_threshold=wrong)


def test_multi_target_nan(fitted: CompositionTrainer, tmp_path: Path) -> None:
    """The loss is the mean over the values that are there; a target without any value is refused by name."""
    data = mixed()
    loader = CompositionLoader(data, BatchSampler(data.counts, 30))
    trainer = create_trainer(fitted.model, loader, None, TrainConfig(tmp_path, loss_config="mae"))
    (batch,) = loader
    output = trainer.share_step(batch, 0)
    pK, site = batch["targets"].T
    known = torch.isfinite(pK), torch.isfinite(site)
    learnt = (pK[known[0]] - pK[known[0]].mean()) / pK[known[0]].std(correction=0)
    errors = (output.logits[known[0], 0] - learnt).abs().sum()
    errors = errors + F.cross_entropy(output.logits[known[1], 1:], site[known[1]].long(), reduction="sum")
    assert 0 < known[0].sum() < 30 and 0 < known[1].sum() < 30
    assert output.loss.item() == pytest.approx((errors / (known[0].sum() + known[1].sum())).item(), rel=1e-5)
    alone = CompositionTrainer(InterfaceDataset(ITEMS, {"pK": [NAN] * 30, "site": ["a", "b"] * 15}), **QUICK)
    with pytest.raises(DataError, match=r"no item of the training set has a label \(pK\)"):
        alone.fit()


def test_numbers_can_be_classes() -> None:
    numbered = InterfaceDataset(ITEMS, {"site": [n % 3 for n in range(30)], "pK": MEASURED})
    trainer = CompositionTrainer(numbered, targets={"pK": "regression", "site": "classification"}, **QUICK)
    assert trainer.model.config.outputs == (1, 3)
    assert set(trainer.fit().final_metrics) == {"pK", "site"}
    broken = InterfaceDataset(ITEMS, {"site": [n + 0.5 for n in range(30)], "pK": MEASURED})
    with pytest.raises(ConfigError, match=r"site holds \d+\.5, a class is a whole number"):
        CompositionTrainer(broken, targets={"pK": "regression", "site": "classification"}, **QUICK).fit()


def test_progress_and_checkpoints_are_kept_where_asked_for(tmp_path: Path) -> None:
    CompositionTrainer(numbers(), checkpoint_dir=tmp_path, **QUICK | {"patience": 5}).fit()
    run = tmp_path / "version_0"
    told = json.loads((run / "progress.json").read_text())
    assert (told["epoch"], told["max_epochs"], told["progress_pct"], told["patience"]) == (1, 2, 100.0, 5)
    assert told["monitor"] == "mae" and told["best_epoch"] in (0, 1)
    assert told["epochs_without_improvement"] == 1 - told["best_epoch"] and told["best_metric"] > 0
    model, _, _ = CompositionTrainer.load(run / "checkpoint" / "best")
    assert isinstance(model, CompositionModel)


def test_an_interrupted_training_goes_on(tmp_path: Path) -> None:
    options = QUICK | {"checkpoint_dir": tmp_path, "restart": "auto", "dropout": 0.2}
    whole = CompositionTrainer(numbers(), **QUICK | {"max_epochs": 4, "dropout": 0.2})
    expected = whole.fit()
    CompositionTrainer(numbers(), **options).fit()
    found = CompositionTrainer(numbers(), **options | {"max_epochs": 4}, allow_changes=["max_epoch"]).fit()
    assert [record["epoch"] for record in found.history] == [0, 1, 2, 3]
    for one, other in zip(found.history, expected.history, strict=True):
        assert one["valid"] == pytest.approx(other["valid"], nan_ok=True)


def test_shards_serve_as_well(tmp_path: Path) -> None:
    vocabulary = load_vocabulary()
    labelled = [one.with_(label=value) for one, value in zip(ITEMS, MEASURED)]
    folder = write_part(tmp_path / "set", labelled, vocabulary.fingerprint, vocabulary="PS_300")
    trainer = CompositionTrainer(InterfaceDataset(folder), **QUICK)
    result = trainer.fit()
    assert set(result.final_metrics) == {"label"}
    plain = load_vocabulary(None)
    other = write_part(tmp_path / "other", ITEMS, plain.fingerprint)
    with pytest.raises(DataError, match="was made with vocabulary"):
        trainer.predict(InterfaceDataset(other))
    with pytest.raises(DataError, match=r"i00: has block type 900, the model knows"):
        trainer.predict(InterfaceDataset([ITEMS[0].with_(B=np.array([4, 5, 6, 900], "u2"))]))
