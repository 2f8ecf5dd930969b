"""What is frozen stays, what is unfrozen trains from its epoch on, every option has an effect or is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from staged_model import StagedModel, complexes, staged_trainer
from stand_ins import TinyTrainer, make_trainer
from test_resume import StopAt, same_outcome

from configs.errors import ConfigError
from configs.finetune_options import FinetuneOptions
from configs.schema import RunConfig, from_flat
from models import MODELS, create_model, load_weights_into
from models.parts import plain_name, role
from trainers import TrainConfig, Trainer
from trainers.callbacks import Callback
from trainers.finetune import UnfreezeSchedule, finetune_options, parameter_groups, prepare_finetune, train_mode
from trainers.rng import seed_everything
from trainers.training_state import find_restart

SIZES: dict[str, Any] = {"atom_hidden_size": 8, "block_hidden_size": 8, "edge_size": 4, "n_layers": 2, "k_neighbors": 3}
STAGES = ("attention_pooling.*:1", "top_encoder.*:2")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def of(**options: Any) -> RunConfig:
    return from_flat(options)


def predictor() -> Any:
    torch.manual_seed(0)
    return create_model("AffinityPredictor", **SIZES)


def values(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {plain_name(name): p.detach().clone() for name, p in model.named_parameters()}


def moved(before: dict[str, torch.Tensor], model: torch.nn.Module) -> set[str]:
    """First words of the parameters that have changed."""
    return {name.split(".")[0] for name, value in values(model).items() if not torch.equal(value, before[name])}


# Head and encoder


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"CompositionModel", "KernelModel"}))
def test_the_encoder_is_what_all_models_share(name: str) -> None:
    changes = (
        {"num_masked_block_classes": 9}
        if "Mask" in name
        else {"block_embedding_size": 5}
        if name.endswith("dding")
        else {}
    )
    model = create_model(name, **({"prot_model": SIZES} if name == "ProteinInterfaceModel" else SIZES | changes))
    shared = set(dict(create_model("PredictionModel", **SIZES).named_parameters()))
    names = dict(model.named_parameters())
    found = {own: {n for n in names if role(n) == own} for own in ("encoder", "head", "fixed")}
    if name == "ProteinInterfaceModel":
        assert found["encoder"] == {f"prot_model.{n}" for n in shared}
        assert found["fixed"] == {f"cmplx_model.{n}" for n in shared}
    else:
        assert found["encoder"] == shared and not found["fixed"]
    assert bool(found["head"]) == (name != "PredictionModel")


def test_the_channelwise_encoder_is_an_encoder_too() -> None:
    shared = create_model("PredictionModel", **SIZES, conv="channelwise")
    assert {role(name) for name, _ in shared.named_parameters()} == {"encoder"}


def test_the_fixed_encoder_of_the_interface_model_never_trains() -> None:
    model = create_model("ProteinInterfaceModel", prot_model=SIZES)
    options = of(freeze=["prot_model.*"], unfreeze_at_epoch=["*:1"], lora_rank=2)
    report = prepare_finetune(model, options)
    trained = {*report.trainable, *report.unfrozen[1]}
    assert any(name.startswith("prot_model.") for name in trained)
    assert not any(name.startswith("cmplx_model.") for name in trained)
    with pytest.raises(ConfigError, match=r"--freeze: no parameter is named 'cmplx_model\.\*'"):
        prepare_finetune(create_model("ProteinInterfaceModel", prot_model=SIZES), of(freeze=["cmplx_model.*"]))


# What trains


def test_the_report_tells_what_was_loaded_and_what_trains(tmp_path: Path) -> None:
    source = create_model("DenoisePretrainModel", **SIZES, modality_embedding=False)
    model = create_model("AffinityPredictor", **SIZES, modality_embedding=True)
    loaded = load_weights_into(model, source.state_dict())
    report = prepare_finetune(model, of(partial_finetune=True, unfreeze_at_epoch=["top_encoder.*:2"], lr=0.5), loaded)
    assert {name.split(".")[0] for name in report.trainable} == {"energy_ffn"}
    assert set(report.trainable) | set(report.frozen) == set(dict(model.named_parameters()))
    assert report.unfrozen[2] == tuple(n for n, _ in model.named_parameters() if n.startswith("top_encoder."))
    head = sum(p.numel() for p in model.energy_ffn.parameters())
    later = sum(p.numel() for p in model.top_encoder.parameters())
    total = sum(p.numel() for p in model.parameters())
    counts = {"total": total, "trainable": head, "unfrozen": later, "frozen": total - head - later}
    assert report.parameters == counts and report.learning_rates == {"head": 0.5, "encoder": 0.5}
    assert report.stuck == ("modality_embedding.weight",)
    rows = {line.split()[0]: line.split() for line in report.table().splitlines()}
    assert rows["energy_ffn"][1:3] == ["head", f"{head:,}"] and rows["energy_ffn"][-3:] == [f"{head:,}", "0", "0.5"]
    assert rows["top_encoder"][-3:] == [f"{later:,}", "2", "0.5"] and rows["encoder"][-3:] == ["-", "-", "-"]
    assert f"{head:,} of {total:,} parameters train" in report.table()
    assert "warning: frozen at initial values" in report.table()
    saved = json.loads(report.save(tmp_path).read_text())
    assert saved["loaded"] == list(loaded.loaded) and saved["left_over"] == list(loaded.left_over)
    assert saved["parameters"] == counts and saved["unfrozen"]["2"] == list(report.unfrozen[2])
    again = prepare_finetune(create_model("AffinityPredictor", **SIZES), of())
    again.save(tmp_path)  # of a resumed run, which does not know any more
    assert json.loads((tmp_path / "finetune.json").read_text()) == saved


@pytest.mark.parametrize(
    ("options", "trains"),
    [
        ({}, {"top_encoder", "attention_pooling", "energy_ffn"}),
        ({"partial_finetune": True}, {"energy_ffn"}),
        ({"freeze": ["top_encoder.*"]}, {"attention_pooling", "energy_ffn"}),
        ({"freeze": ["*_ffn.weight", "top_*"], "weight_decay": 0.1}, {"attention_pooling", "energy_ffn"}),
        ({"partial_finetune": True, "weight_decay": 0.1, "ema_decay": 0.9}, {"energy_ffn"}),
        ({"partial_finetune": True, "accumulate": 2}, {"energy_ffn"}),
    ],
    ids=[f"trains {n}" for n in range(6)],
)
def test_what_is_frozen_stays_to_the_last_bit(tmp_path: Path, options: dict, trains: set[str]) -> None:
    trainer = staged_trainer(tmp_path, **options)
    before = values(trainer.model)
    trainer.train(gpus=[-1])
    assert moved(before, trainer.model) == trains
    assert ("energy_ffn.weight" in options.get("freeze", "")) or trainer.global_step > 0


def test_adapters_and_head_train_and_the_checkpoint_is_an_ordinary_one(tmp_path: Path) -> None:
    trainer = staged_trainer(tmp_path, lora_rank=2, lora_targets=["top_encoder.0.weight"], lora_dropout=0.2)
    before = values(trainer.model)
    trainer.train(gpus=[-1])
    after = values(trainer.model)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {
        *("top_encoder.0.weight.lora_A", "top_encoder.0.weight.lora_B", "energy_ffn.weight", "energy_ffn.bias"),
    }
    from models.persistence import read_weights

    stored = read_weights(trainer.save_dir / "checkpoint" / "best" / "model.safetensors")
    assert set(stored) == set(dict(StagedModel().named_parameters()))
    assert "adapters" not in json.loads((trainer.save_dir / "checkpoint" / "best" / "config.json").read_text())
    apart = staged_trainer(tmp_path, lora_rank=2, lora_targets=["top_*"], lora_merge=False)
    apart.train(gpus=[-1])
    stored = read_weights(apart.save_dir / "checkpoint" / "best" / "model.safetensors")
    assert any(name.endswith("lora_A") for name in stored)
    config = json.loads((apart.save_dir / "checkpoint" / "best" / "config.json").read_text())
    assert config["adapters"]["weights"] == ["top_encoder.0.weight"]


def test_a_frozen_encoder_is_left_out_of_the_backward_pass() -> None:
    model = predictor()
    prepare_finetune(model, of(partial_finetune=True))
    train_mode(model)
    output = model(complexes())
    assert output.loss.requires_grad
    assert not any(t.requires_grad for t in (output.unit_repr, output.block_repr, output.graph_repr))


def test_frozen_parts_drop_nothing_out() -> None:
    model = predictor()
    prepare_finetune(model, of(freeze=["encoder.*", "attention_pooling.attention_layers.0.*"]))
    train_mode(model)
    frozen = model.encoder, model.attention_pooling.attention_layers[0]
    assert not any(module.training for part in frozen for module in part.modules())
    trained = model.top_encoder, model.attention_pooling.dropout, model.attention_pooling.attention_layers[1]
    assert all(module.training for part in trained for module in part.modules())
    assert model.training


def test_frozen_parameters_have_no_average(tmp_path: Path) -> None:
    trainer = staged_trainer(tmp_path, partial_finetune=True, ema_decay=0.9)
    trainer.train(gpus=[-1])
    assert trainer.average is not None and set(trainer.average.average) == {"energy_ffn.weight", "energy_ffn.bias"}


# Rates


def test_head_and_encoder_have_their_own_rates() -> None:
    model = StagedModel()
    groups = parameter_groups(model, FinetuneOptions(head_lr=0.3), 0.1)
    assert [(group["name"], group["lr"], len(group["params"])) for group in groups] == [
        ("encoder", 0.1, 4),
        ("head", 0.3, 2),
    ]
    (only,) = parameter_groups(model, FinetuneOptions(), 0.1)
    assert [id(p) for p in only["params"]] == [id(p) for p in model.parameters()]


class Rates(Callback):
    def __init__(self) -> None:
        self.seen: list[list[float]] = []

    def on_batch_end(self, trainer: Trainer) -> None:
        self.seen.append([group["lr"] for group in trainer.optimizer.param_groups])


@pytest.mark.parametrize("schedule", ["cosine", None])
def test_schedules_keep_the_ratio_of_the_rates(tmp_path: Path, schedule: str | None) -> None:
    rates = Rates()
    options = {"lr_schedule": schedule, "final_lr": 1e-3 if schedule else None, "callbacks": [rates]}
    staged_trainer(tmp_path, head_lr=5e-2, encoder_lr=2e-3, **options).train(gpus=[-1])
    assert len({encoder for encoder, _ in rates.seen}) > 1
    assert all(head == pytest.approx(25 * encoder) for encoder, head in rates.seen)


def test_without_options_training_is_as_it_was(tmp_path: Path) -> None:
    """One group, the same numbers as an optimiser made of all parameters."""

    class Plain(TinyTrainer):
        def get_optimizer(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.model.parameters(), lr=self.config.lr)

    found = []
    for kind in (TinyTrainer, Plain):
        seed_everything(3)
        trainer = make_trainer(tmp_path / kind.__name__, kind=kind, lr_schedule="cosine", final_lr=1e-4)
        trainer.train(gpus=[-1])
        found.append(values(trainer.model))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


# Stages


class Watch(Callback):
    """Notes before every step of an epoch what has moved since its start."""

    def __init__(self) -> None:
        self.moved: dict[int, set[str]] = {}
        self.before: dict[str, torch.Tensor] = {}

    def on_train_start(self, trainer: Trainer) -> None:
        self.before = values(trainer.model)

    def on_epoch_end(self, trainer: Trainer) -> None:
        self.moved[trainer.epoch] = moved(self.before, trainer.model)
        self.before = values(trainer.model)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_parts_train_from_their_epoch_on(tmp_path: Path, decay: float) -> None:
    watch = Watch()
    options = {"partial_finetune": True, "unfreeze_at_epoch": STAGES, "weight_decay": decay, "callbacks": [watch]}
    trainer = staged_trainer(tmp_path, **options)
    trainer.train(gpus=[-1])
    assert watch.moved == {
        0: {"energy_ffn"},
        1: {"energy_ffn", "attention_pooling"},
        2: {"energy_ffn", "attention_pooling", "top_encoder"},
    }
    steps = {name: int(trainer.optimizer.state[p]["step"]) for name, p in trainer.model.named_parameters()}
    assert steps["energy_ffn.weight"] == 18 and steps["top_encoder.0.weight"] == 6


def test_averaging_begins_where_a_part_was_frozen(tmp_path: Path) -> None:
    trainer = staged_trainer(
        tmp_path, partial_finetune=True, unfreeze_at_epoch=["top_encoder.*:1"], ema_decay=0.9, max_epoch=2
    )
    frozen = values(trainer.model)
    averages: list[dict[str, torch.Tensor]] = []

    class First(Callback):
        def on_batch_end(self, trainer: Trainer) -> None:
            if trainer.epoch == 1:
                averages.append({name: value.clone() for name, value in trainer.average.average.items()})
                averages.append(values(trainer.model))

    trainer.callbacks.append(First())
    trainer.train(gpus=[-1])
    used = (1 + 6) / (10 + 6)  # six steps before
    expected = used * frozen["top_encoder.0.weight"] + (1 - used) * averages[1]["top_encoder.0.weight"]
    torch.testing.assert_close(averages[0]["top_encoder.0.weight"], expected)


OPTIONS: dict[str, Any] = {
    "max_epoch": 4,
    "save_every_steps": 4,
    "log_every": 3,
    "lr_schedule": "cosine",
    "final_lr": 1e-4,
    "head_lr": 3e-2,
    "ema_decay": 0.9,
    "weight_decay": 0.01,
}
STAGED: dict[str, Any] = {"partial_finetune": True, "unfreeze_at_epoch": STAGES}
ADAPTED: dict[str, Any] = {"lora_rank": 2, "lora_targets": ["top_*", "attention_*"], "lora_dropout": 0.2}


def run(folder: Path, stop: int | None = None, **options: Any) -> Trainer:
    """The same command again and again: continue what there is, else start."""
    seed_everything(1)
    state = find_restart(folder) if folder.exists() else None
    callbacks = [StopAt(stop)] if stop is not None else []
    trainer = staged_trainer(folder, state, callbacks=callbacks, **(OPTIONS | options))
    try:
        trainer.train(gpus=[-1])
    except KeyboardInterrupt:
        assert stop is not None
    return trainer


KINDS: dict[str, dict[str, Any]] = {
    "staged": STAGED,
    "adapters": ADAPTED,
    "both": ADAPTED | {"unfreeze_at_epoch": STAGES},
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.set_num_threads(1)
    folders = {name: tmp_path_factory.mktemp(name) / "runs" for name in KINDS}
    for name, folder in folders.items():
        run(folder, **KINDS[name])
    return folders


@pytest.mark.parametrize("stops", [[3], [6], [9, 12, 13], [20]], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_equals_the_uninterrupted_one(
    tmp_path: Path, uninterrupted: dict[str, Path], kind: str, stops: list[int]
) -> None:
    for stop in stops:
        run(tmp_path / "runs", stop, **KINDS[kind])
    trainer = run(tmp_path / "runs", **KINDS[kind])
    same_outcome(tmp_path / "runs", uninterrupted[kind])
    frozen = [name for name, p in trainer.model.named_parameters() if not p.requires_grad]
    assert bool(frozen) == (kind == "adapters")


def test_a_resumed_run_has_the_gradients_of_its_epoch(tmp_path: Path) -> None:
    run(tmp_path / "runs", stop=11, **STAGED)  # stored at step 8, in epoch 1
    seen = []

    class See(Callback):
        def on_batch_end(self, trainer: Trainer) -> None:
            seen.append({name.split(".")[0] for name, p in trainer.model.named_parameters() if p.requires_grad})
            raise KeyboardInterrupt

    trainer = staged_trainer(tmp_path / "runs", find_restart(tmp_path / "runs"), callbacks=[See()], **OPTIONS, **STAGED)
    with pytest.raises(KeyboardInterrupt):
        trainer.train(gpus=[-1])
    assert (trainer.epoch, seen) == (1, [{"attention_pooling", "energy_ffn"}])


# Refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"freeze": ["encodr.*"]}, r"--freeze: no parameter is named 'encodr\.\*' \(did you mean 'encoder\.\*'"),
        ({"freeze": ["qqq"]}, r"--freeze: no parameter is named 'qqq' \(names begin with block_embedding\.\*"),
        ({"freeze": ["*"]}, "--freeze: leaves nothing to train in the first epoch"),
        (
            {"partial_finetune": True, "freeze": ["energy_ffn.*"], "unfreeze_at_epoch": ["energy_ffn.*:1"]},
            "--freeze: leaves nothing to train in the first epoch",
        ),
        (
            {"unfreeze_at_epoch": ["encoder.*:2"]},
            r"--unfreeze_at_epoch encoder\.\*:2: none of these parameters is frozen",
        ),
        (
            {"partial_finetune": True, "unfreeze_at_epoch": ["top_encodr.*:2"]},
            r"--unfreeze_at_epoch top_encodr\.\*:2: no parameter is named 'top_encodr\.\*' \(did you mean 'top_encoder",
        ),
        ({"partial_finetune": True, "unfreeze_at_epoch": ["enc*:10"]}, "the last epoch of the run is 9"),
        ({"partial_finetune": True, "encoder_lr": 0.1}, "--encoder_lr: has no effect: nothing of the encoder trains"),
        ({"freeze": ["energy_ffn.*"], "head_lr": 0.1}, "--head_lr: has no effect: nothing of the head trains"),
        ({"lora_rank": 2, "lora_targets": ["atom_attn.*"]}, "--lora_targets: no parameter is named"),
    ],
    ids=str,
)
def test_options_without_effect_are_refused_before_the_first_step(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare_finetune(predictor(), of(**options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unfreeze_at_epoch": ["encoder.*"]}, r"--unfreeze_at_epoch: must be PATTERN:EPOCH .* got 'encoder\.\*'"),
        ({"unfreeze_at_epoch": ["encoder.*:0"]}, "with an epoch of 1 or more"),
        ({"unfreeze_at_epoch": ["encoder.*:-1"]}, "with an epoch of 1 or more"),
        ({"unfreeze_at_epoch": [":3"]}, "must be PATTERN:EPOCH"),
        ({"freeze": [""]}, "--freeze: must be patterns that are not empty"),
        ({"head_lr": 0.0}, r"--head_lr: must be positive \(--freeze keeps"),
        ({"encoder_lr": -1.0}, "--encoder_lr: must be a finite number of at least 0"),
        ({"lora_rank": -1}, "--lora_rank: must be a finite number of at least 0"),
        ({"lora_rank": 2, "lora_dropout": 1.0}, r"--lora_dropout: must be in \[0, 1\)"),
        ({"lora_alpha": 2.0}, "--lora_alpha: must be given together with --lora_rank"),
        ({"lora_targets": ["a"]}, "--lora_targets: must be given together with --lora_rank"),
        ({"lora_rank": 2, "partial_finetune": True}, "--partial_finetune: must be left out with --lora_rank"),
        ({"freeze": [3.5, None]}, "--freeze must be values of its kind"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        of(**options)


def test_a_trainer_knows_the_options_of_its_run() -> None:
    run = of(freeze=["encoder.*"], unfreeze_at_epoch="encoder.*:2", lora_merge=False)
    assert finetune_options(TrainConfig(**run.flat())) == run.finetune
    assert finetune_options(TrainConfig(**json.loads(json.dumps(run.flat())))) == run.finetune
    assert finetune_options(TrainConfig("runs")) == FinetuneOptions() and not FinetuneOptions().used
    assert UnfreezeSchedule(run.finetune).options.stages == (("encoder.*", 2),)
