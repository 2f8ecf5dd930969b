"""The composition model from the command line: trained from shards, on real structures too, and predicted with."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from contract_rows import COMPOSITION, make_data, run_row

import train
from data import InterfaceDataset
from data.shards import ShardReader, write_part
from data.vocab import load_vocabulary
from models import create_model, from_pretrained, save_pretrained
from models.block_encoders import ENCODINGS
from models.composition_predict import predict_targets
from scripts import cross_validate, predict, process_pdbs
from trainers import CompositionTrainer

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("INTERFACE_DATA", ROOT.parent / "shared" / "data"))
QUICK = "--fragmentation_method PS_300 --gpus -1 --no_progress --no_use_tensorboard --max_epoch 2 --bootstrap 0".split()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("composition")
    make_data(folder)
    return folder


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of real interfaces of proteins with ligands, and their measured affinities."""
    index = DATA / "pl_affinity" / "interfaces.csv"
    if not index.is_file():
        pytest.skip(f"INTERFACE_DATA: no file {index}")
    folder = tmp_path_factory.mktemp("real")
    with open(index, newline="") as file:
        rows = list(csv.reader(file))
    with open(folder / "index.csv", "w", newline="") as file:
        csv.writer(file).writerows([rows[0], *rows[1::40][:12]])
    words = ["--data_index_file", folder / "index.csv", "--root", DATA, "--out_path", folder / "shards"]
    assert process_pdbs.main([*map(str, words)]) == 0
    return folder / "shards"


def test_a_wrong_encoding_names_the_four(data: Path, tmp_path: Path) -> None:
    words = ["--task", "regression", "--model", "composition", "--block_encoding", "nope", "--save_dir", str(tmp_path)]
    done = subprocess.run([sys.executable, "train.py", *words], cwd=ROOT, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == 2 and all(name in said for name in ENCODINGS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "magic"], "--model: unknown model 'magic' (known: geometric, composition)"),
        (["--model", "composition", "--task", "masking"], "is not available for --task masking (tasks with labels"),
        (["--task", "regression", "--target_types", "a:regression"], "--target_types: needs --model composition"),
        (["--model", "composition", "--target_types", "a"], "--target_types: must be NAME:TYPE"),
        (
            ["--model", "composition", "--task", "PDBBind", "--block_embedding_size", "4"],
            "is not available with --model",
        ),
    ],
)
def test_options_that_do_not_go_together(
    words: list[str], message: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = ["--train_set", str(data / "values" / "train"), "--save_dir", str(tmp_path / "runs")]
    try:
        status = train.main([*sets, *words])
    except SystemExit as left:
        status = int(left.code or 0)
    said = capsys.readouterr()
    plain = " ".join((said.err + said.out).replace("│", " ").split())
    assert status == 2 and message in plain
    assert not (tmp_path / "runs").exists()


def test_a_geometric_checkpoint_is_no_start(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = create_model("PredictionModel", atom_hidden_size=8, block_hidden_size=8, fragmentation_method="PS_300")
    save_pretrained(made, tmp_path / "geometric")
    words = ["--model", "composition", "--train_set", str(data / "values" / "train"), "--save_dir", str(tmp_path)]
    assert train.main([*words, *QUICK, "--pretrain_ckpt", str(tmp_path / "geometric")]) == 2
    assert "has no weights that a CompositionModel could start from" in capsys.readouterr().err


def test_a_composition_checkpoint_is_a_start(data: Path, tmp_path: Path) -> None:
    first = run_row("composition", data, tmp_path / "first", "--max_epoch 1 --no_final_report")
    best = first.save_dir / "checkpoint" / "best"
    start = f"--pretrain_ckpt {best} --max_epoch 1 --lr 1e-9 --no_final_report"
    again = run_row("composition", data, tmp_path / "again", start)
    old, new = from_pretrained(best).state_dict(), again.model.state_dict()
    assert all(torch.allclose(value, new[name], atol=1e-6) for name, value in old.items())


def test_predict_reads_its_checkpoints(data: Path, tmp_path: Path) -> None:
    """Values with the share of blocks that training did not see; what is less sure than asked for is left empty."""
    trainer = run_row("composition", data, tmp_path, "--max_epoch 1 --no_final_report --label_transform pK_from_dG")
    best = trainer.save_dir / "checkpoint" / "best"
    items = list(ShardReader(data / "values" / "valid"))
    items[2] = items[2].with_(B=np.where(np.arange(items[2].n_blocks) < 1, 120, items[2].B).astype("u2"))
    vocabulary = load_vocabulary()
    shards = write_part(tmp_path / "shards", items, vocabulary.fingerprint, vocabulary="PS_300")
    out = tmp_path / "found.csv"
    words = [str(shards), "--checkpoint", str(best), "--out", str(out), "--gpus", "-1"]
    assert predict.main(words) == 0
    table = pd.read_csv(out)
    unseen = 1 / items[2].n_blocks
    assert table["unknown_fraction"].tolist() == pytest.approx([0, 0, unseen, 0, 0, 0])
    model = from_pretrained(best)
    expected = predict_targets(model, InterfaceDataset(shards))["label"]
    assert table["label (kcal/mol)"].to_numpy() == pytest.approx(expected, rel=1e-5)
    assert predict.main([*words, "--confidence_threshold", "0.99"]) == 0
    assert pd.read_csv(out)["label (kcal/mol)"].isna().tolist() == [False, False, True, False, False, False]


def test_predict_reads_its_classes(data: Path, tmp_path: Path) -> None:
    trainer = run_row("composition_classes", data, tmp_path, "--max_epoch 1 --no_final_report")
    out = tmp_path / "found.csv"
    words = [str(data / "classes" / "valid"), "--checkpoint", str(trainer.save_dir / "checkpoint" / "best")]
    assert predict.main([*words, "--out", str(out), "--gpus", "-1"]) == 0
    table = pd.read_csv(out)
    assert set(table["class"]) <= {"ion", "sugar", "drug"}
    assert table["confidence"].to_numpy() == pytest.approx(table.iloc[:, 1:4].max(axis=1).to_numpy())


def test_cross_validation_takes_it(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("train", "valid", "test"):
        (tmp_path / "split").mkdir(exist_ok=True)
        source = data / "values" / ("train" if part == "train" else "valid")
        (tmp_path / "split" / part).symlink_to(source, target_is_directory=True)
    command = [str(tmp_path / "split"), "--out_path", str(tmp_path / "cv"), "--seeds", "1", "--bootstrap", "5"]
    assert cross_validate.main([*command, "--", "--task", "PDBBind", *COMPOSITION.split(), *QUICK]) == 0
    assert "| mae |" in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "cv" / "predictions.csv")) == 6
    mixed = ["--task", "regression", "--target_types", "label:regression", *COMPOSITION.split(), *QUICK]
    assert cross_validate.main([*command, "--", *mixed]) == 2
    assert "--target_types: has no scores over all targets" in capsys.readouterr().err


@pytest.mark.real_data
@pytest.mark.parametrize("name", ENCODINGS)
def test_every_encoding_trains_on_real_interfaces(name: str, real: Path, tmp_path: Path) -> None:
    """By the command line and from Python; the loss on what was seen falls."""
    sets = ["--train_set", str(real), "--valid_set", str(real), "--save_dir", str(tmp_path)]
    options = [
        "--block_encoding",
        name,
        "--hidden_dims",
        "32,16",
        "--lr",
        "0.01",
        "--dropout",
        "0",
        "--max_epoch",
        "15",
    ]
    words = [*sets, "--model", "composition", "--task", "regression", *QUICK, *options]
    assert train.main(words) == 0
    model, encoder, scalers = CompositionTrainer.load(tmp_path / "version_0" / "checkpoint" / "best")
    assert isinstance(encoder, ENCODINGS[name]) and set(scalers) == {"label"}  # type: ignore[arg-type]
    dataset = InterfaceDataset(real)
    error = np.abs(predict_targets(model, dataset)["label"] - dataset.counts["label"]).mean()
    assert error < np.abs(dataset.counts["label"] - dataset.counts["label"].mean()).mean()
    trainer = CompositionTrainer(dataset, block_encoding=name, hidden_dims=[32, 16], max_epochs=2, valid_fraction=0.3)
    assert np.isfinite(trainer.fit().final_metrics["label"]["mae"])
    assert np.isfinite(trainer.predict(dataset)["label"]).all()


def test_the_example_of_the_document_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "composition.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.S)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(example, names)
    assert set(names["found"]) == {"pK", "site"} and (tmp_path / "composition_model" / "manifest.json").exists()
