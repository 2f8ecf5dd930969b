"""Fine-tuning from the command line: what is printed and kept, adapters that leave ordinary checkpoints, refusals."""

import json
from pathlib import Path

import pytest
import torch
from test_train_cli import make_item, options

import scripts.convert_checkpoint as convert
import train
from configs.schema import StartOptions
from data.shards import ShardWriter
from data.vocab import load_vocabulary
from models import create_model, from_pretrained, save_pretrained
from models.adapters import AdapterConfig, add_adapters, has_adapters, target_weights
from trainers.start import source_of, start_from

SIZES = {"atom_hidden_size": 16, "block_hidden_size": 16, "edge_size": 8, "k_neighbors": 3, "n_layers": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("shards")
    for name, seeds in (("train", range(4)), ("valid", range(4, 6))):
        with ShardWriter(folder / name, load_vocabulary(None).fingerprint) as writer:
            for seed in seeds:
                writer.add(make_item(seed).with_(label=float(seed % 3)))
    return ["--train_set", str(folder / "train"), "--valid_set", str(folder / "valid")]


@pytest.fixture(scope="module")
def pretrained(data: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    assert train.main(options(data, folder, "--max_epoch", "1")) == 0
    return folder / "version_0" / "checkpoint" / "best"


def finetune(data: list[str], folder: Path, pretrained: Path, *more: str) -> int:
    task = ["--task", "regression", "--pretrain_ckpt", str(pretrained), "--max_epoch", "2", "--no_final_report"]
    return train.main(options(data, folder, *task, *more))


def test_adapters_leave_an_ordinary_checkpoint(
    data: list[str], pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    more = ["--lora_rank", "2", "--lora_dropout", "0.1", "--head_lr", "1e-2", "--encoder_lr", "1e-3"]
    assert finetune(data, tmp_path, pretrained, *more) == 0
    shown = capsys.readouterr().err
    assert "parameters train (" in shown and "adapters of rank 2 in " in shown
    run = tmp_path / "version_0"
    report = json.loads((run / "finetune.json").read_text())
    assert "encoder.encoder.layers.0.fc.0.weight" in report["loaded"] and "energy_ffn.2.weight" in report["new"]
    assert report["learning_rates"] == {"head": 0.01, "encoder": 0.001}
    before, after = from_pretrained(pretrained).state_dict(), from_pretrained(run / "checkpoint" / "best")
    assert not has_adapters(after)
    changed = {
        name for name, value in after.state_dict().items() if name in before and not torch.equal(value, before[name])
    }
    assert changed and changed <= set(report["adapters"]["weights"])
    published = tmp_path / "published"
    assert convert.main([str(run / "checkpoint" / "best"), "--to", "published", "--out_path", str(published)]) == 0


def test_stages_are_announced_and_the_report_outlives_a_restart(
    data: list[str], pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    more = ["--partial_finetune", "--unfreeze_at_epoch", "top_encoder.*:1", "--restart", "auto"]
    assert finetune(data, tmp_path, pretrained, *more) == 0
    shown = capsys.readouterr().err
    assert "epoch 1: " in shown and "more parameters train" in shown
    kept = (tmp_path / "version_0" / "finetune.json").read_bytes()
    assert finetune(data, tmp_path, pretrained, *more, "--max_epoch", "3") == 0
    assert (tmp_path / "version_0" / "finetune.json").read_bytes() == kept


def test_a_pattern_that_names_nothing_ends_before_a_run_folder_is_made(
    data: list[str], pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert finetune(data, tmp_path / "runs", pretrained, "--freeze", "encodr.*") == 2
    assert "--freeze: no parameter is named 'encodr.*' (did you mean 'encoder.*'" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_checkpoint_with_adapters_is_started_from_folded(tmp_path: Path) -> None:
    model = create_model("PredictionModel", **SIZES)
    add_adapters(model, AdapterConfig(2, 2.0, 0.0, target_weights(model)))
    for name, p in model.named_parameters():
        if name.endswith("lora_B"):
            torch.nn.init.ones_(p)
    save_pretrained(model, tmp_path)
    new, start = create_model("RegressionPredictor", **SIZES), StartOptions(pretrain_ckpt=str(tmp_path))
    report = start_from(new, source_of(start), start)
    assert not report.left_over and {name.split(".")[0] for name in report.new} == {"energy_ffn"}
    torch.testing.assert_close(new.atom_block_attn.key_proj.weight, model.atom_block_attn.key_proj.weight)
