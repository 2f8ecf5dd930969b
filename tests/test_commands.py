"""Every command: how it is called, and that input which can't be used gives one line, status 2 and no files."""

import re
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from configs.command import command
from configs.errors import DataError
from data.item import Item
from data.shards import write_part
from data.vocab import load_vocabulary
from scripts.main import COMMANDS, main

ROOT = Path(__file__).parent.parent
# What each command can't do without, and a flag that its help must explain.
USE = "--input --chain1 --chain2 --lig_code --ligand_path --root --checkpoint --config --weights --device --gpus --out"
FLAGS = {
    "process": "--data_index_file --structures --out_path --root --n_jobs --cutoff --vocabulary --model --backend "
    "--label_columns --label_classes --label_sets --address --seconds_per_file --memory_per_process",
    "import": "--out_path --vocabulary --modality",
    "pockets": "--root --task --out_path --cutoff --min_families --min_items --most_per_family --seed",
    "baselines": "--task --out --checkpoint --subset --bootstrap --seed",
    "collect-results": "--out --subset --bootstrap --seed",
    "synthesize": "--out_path --n_items --seed --n_jobs --valid_fraction --vocabulary --write_structures",
    "large-set": "--out_path --n_items --seed --most_blocks --most_templates",
    "inspect": "--item --out --verify",
    "split": "--split --by --valid_fraction --test_fraction --folds --identity --sequences --index --seed --out_path",
    "vocabulary": "--size --out",
    "train": "--config --task --train_set --save_dir --max_epoch --restart --torsion_noise",
    "cross-validate": "--out_path --seeds --devices --bootstrap --resample",
    "fit-affinity": "--checkpoint --out --folds --repeats --subset --unit --licence --seed",
    "planted": "--out --n_items --epochs --seed --resamples --n_jobs",
    "predict": f"{USE} --transformed --confidence_threshold --label_threshold --max_spread --interval",
    "embed": f"{USE} --level --representations --rule --guidance",
    "explain": f"{USE} --target --method --output --structures --structure_format --pages --max_blocks --tolerance",
    "app": "--checkpoint --config --weights --predictor --atlas --host --port --max_upload --upload_seconds --seconds "
    "--memory --workers --waiting",
    "check-explanations": "--input --checkpoint --items --out",
    "evaluate-pretraining": "--valid_set --train_set --checkpoint --draws --seed --out",
    "plot": "--out --only",
    "fetch": "--ids --index --out --server --rate --connections --retries --max_size --verify",
    "report": "--out",
    "doctor": "--json",
    "quickstart": "--out_path --n_items --n_jobs --max_epoch",
}
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run `ligare NAME ...`: exit status, stdout, stderr."""

    def run(*argv: Any) -> tuple[int, str, str]:
        try:
            status = main([str(argument) for argument in argv])
        except SystemExit as left:
            status = int(left.code or 0)
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def item(number: int) -> Item:
    """Two blocks of two atoms."""
    return Item(
        id=f"{number}_x",
        X=np.arange(12, dtype=np.float32).reshape(4, 3),
        A=np.full(4, 8, np.uint8),
        B=np.full(2, 4, np.uint16),
        block_lengths=np.full(2, 2, np.int32),
        segment_ids=np.array([0, 1], np.uint8),
        modality=0,
    )


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    vocabulary = load_vocabulary()
    folder = tmp_path_factory.mktemp("data") / "shards"
    return write_part(folder, map(item, range(6)), vocabulary.fingerprint, vocabulary=vocabulary.name)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_explains_every_flag(call: Call, name: str) -> None:
    status, out, _ = call(name, "--help")
    assert status == 0
    assert set(FLAGS.get(name, "--help").split()) <= set(re.findall(r"--\w+", out))
    assert f"ligare {name}" in out or name == "train"


def test_without_a_command_all_are_listed(call: Call) -> None:
    status, out, _ = call()
    assert status == 2
    assert all(f"  {name} " in out for name in COMMANDS)
    assert call("--help") == (0, out, "")


def test_an_unknown_command_and_the_version(call: Call) -> None:
    status, out, err = call("embroider")
    assert (status, out) == (2, "")
    assert "unknown command 'embroider'" in err
    assert re.fullmatch(r"ligare \d+\.\d+\.\d+\S*\n", call("--version")[1])


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"quickstart", "train"}))
def test_a_wrong_flag_is_named(call: Call, name: str) -> None:
    status, _, err = call(name, "x", "--nonsense", "1")
    assert status == 2
    assert "--nonsense" in err or "are required" in err or "is required" in err or "invalid choice" in err


def test_every_script_with_a_main_is_a_command() -> None:
    with_main = {p.stem for p in (ROOT / "scripts").glob("*.py") if "\ndef main(" in p.read_text(encoding="utf-8")}
    internal = {"main", "benchmark", "soak"}  # the console itself, and what needs more than the package
    assert {entry.module.rpartition(".")[2] for entry in COMMANDS.values()} == with_main - internal | {"train"}
    assert set(FLAGS) <= set(COMMANDS)


FAULTS = [
    ("process --structures {shards} --out_path {out}", "holds no structure files"),
    ("process --data_index_file {none} --out_path {out}", "none: no such file"),
    ("import {none}.parquet --out_path {out}", "none.parquet: no such file"),
    ("import {file} --out_path {out}", "file: is of unknown kind"),
    ("pockets {none} --root {shards} --task type --out_path {out}", "none: no such file"),
    ("pockets {file} --root {shards} --task type --out_path {out}", "file: has no rows"),
    ("collect-results {none} --out {out}", "none: holds no results"),
    ("baselines {none} --task regression --out {out}", "none: has no train set"),
    ("baselines {shards} --task regression --out {out} --seed -1", "--seed: must be a finite number of at least 0"),
    ("synthesize --out_path {out} -n 1", "--n_items: needs at least 2"),
    ("synthesize --out_path {out} -n 6 --seed -1", "--seed: must be a finite number of at least 0"),
    ("synthesize --out_path {out} -n 6 --n_jobs 0", "--n_jobs: must be a number of processes"),
    ("synthesize --out_path {out} -n 6 --valid_fraction 2", "--valid_fraction: must be between 0 and 1"),
    ("synthesize --out_path {out} -n 6 --vocabulary PS_1", "PS_1: no such vocabulary"),
    ("inspect {none}", "none: no such folder"),
    ("inspect {file}", "file: is a file; a folder of shards is needed"),
    ("split {none} --out_path {out}", "none: no such folder"),
    ("split {shards} --out_path {out} --valid_fraction 1", "--valid_fraction, --test_fraction: must be positive"),
    ("split {shards} --out_path {out} --seed -1", "--seed: must be a finite number of at least 0"),
    ("cross-validate {shards} --out_path {out}", "train: is no folder of shards (made by scripts/split_data.py"),
    ("cross-validate {shards} --out_path {out} --bootstrap -1", "--bootstrap: must be a finite number of at least 0"),
    ("predict {shards} --checkpoint {none} --out {out}", "none: no such folder"),
    ("predict {shards} --checkpoint {none} --out {out} --confidence_threshold 2", "must be between 0 and 1"),
    ("embed {none} --checkpoint {shards} --out {out} --representations z_graph", "need a rule"),
    ("embed {none} --checkpoint {shards} --out {out} --max_blocks 0", "--max_blocks: must be"),
    ("app --checkpoint {none} --seconds 0", "--seconds: must be a finite number of at least 1"),
    ("vocabulary {none} --out {out}", "none: no such file"),
    ("vocabulary {file} --out {out} --size 0", "--size: must be a finite number of at least 1"),
    ("train --train_set {none} --mask_proportion 0.1 --save_dir {out}", "none: no such folder"),
    ("train --train_set {shards} --save_dir {out} --seed -1", "--seed: must be a finite number"),
    (
        "train --train_set {shards} --mask_proportion 0.1 --save_dir {out} --fragmentation_method PS_1",
        "PS_1: no such vocabulary",
    ),
    ("evaluate-pretraining {shards} --out {out}", "is not a run folder"),
    ("evaluate-pretraining {shards} --out {out} --draws 0", "--draws: must be a finite number of at least 1"),
    ("atlas query --atlas {none} --id x", "none: is no atlas"),
    ("atlas map --atlas {shards} --out {out}", "is no atlas"),
    ("fetch 1abc ../x --out {out}", "'../x'"),
    ("fetch 1abc --server ftp://x --out {out}", "is no http or https address"),
    ("fetch --verify --out {none}", "holds no manifest.csv"),
    ("plot {none} --out {out}", "none: is not a run folder"),
    ("report {none} --out {out}", "none: no such folder"),
    ("report {shards} --out {out}", "is not a run folder"),
    ("quickstart --out_path {shards}", "is not empty and not made by the quickstart"),
]


@pytest.mark.parametrize(("line", "message"), FAULTS, ids=[line for line, _ in FAULTS])
def test_faults_are_one_line_with_status_2_and_leave_nothing(
    call: Call, shards: Path, tmp_path: Path, line: str, message: str
) -> None:
    (tmp_path / "file").write_text("CCO\n")
    before = sorted(shards.iterdir())
    places = {name: tmp_path / name for name in ("none", "file", "out")}
    status, _, err = call(*line.format(shards=shards, **places).split())
    said = err if line.startswith("train") else err.splitlines()[-1]  # bad flags of train are explained in a box
    assert status == 2
    assert message in " ".join(said.split())
    assert "Traceback" not in err
    assert sorted(tmp_path.iterdir()) == [tmp_path / "file"]
    assert sorted(shards.iterdir()) == before


OUTPUTS = [
    "process --data_index_file {index} --out_path {file}",
    "process --data_index_file {index} --out_path {file}/inside",
    "import {rows} --out_path {file}",
    "synthesize --out_path {file} -n 6",
    "inspect {shards} --out {file}/sizes.png",
    "inspect {shards} --out {shards}",
    "split {shards} --out_path {file} --valid_fraction 0.4",
    "vocabulary {file} --out {shards}",
    "vocabulary {file} --out {file}/vocabulary.json",
    "train --train_set {shards} --mask_proportion 0.1 --fragmentation_method PS_300 --gpus -1 --save_dir {file}",
    "quickstart --out_path {file}",
]


@pytest.mark.parametrize("line", OUTPUTS)
def test_an_output_that_can_not_be_written_is_named(call: Call, shards: Path, tmp_path: Path, line: str) -> None:
    data = shutil.copytree(shards, tmp_path / "shards")
    file, index, rows = tmp_path / "file", tmp_path / "index.csv", tmp_path / "rows.jsonl"
    file.write_text("CCO\n")
    index.write_text("pdb_id,pdb_path,chain1,chain2\na,a.pdb,A,B\n")
    rows.write_text("{}\n")
    before = sorted(tmp_path.rglob("*"))
    status, _, err = call(*line.format(shards=data, file=file, index=index, rows=rows).split())
    assert status == 2
    assert "file" in err.splitlines()[-1] or "shards" in err.splitlines()[-1]
    assert file.read_text() == "CCO\n"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_learned_vocabulary_serves_from_structures_to_evaluation(call: Call, tmp_path: Path) -> None:
    (tmp_path / "some.smi").write_text("CCO\nc1ccccc1O\nCC(=O)NC\nc1ccncc1C\n")
    learned = tmp_path / "learned.json"
    assert call("vocabulary", tmp_path / "some.smi", "--out", learned, "--size", "12")[0] == 0
    made = ("synthesize", "--out_path", tmp_path, "-n", "12", "--n_jobs", "1", "--vocabulary", learned)
    assert call(*made, "--valid_fraction", "0.4")[0] == 0
    sizes = "--atom_hidden_size 8 --block_hidden_size 8 --edge_size 4 --k_neighbors 3 --n_layers 1".split()
    noise = "--translation_noise 1 --mask_proportion 0.3 --batch_size 4 --max_epoch 1 --gpus -1 --no_progress".split()
    sets = ("--train_set", tmp_path / "train", "--valid_set", tmp_path / "valid", "--save_dir", tmp_path / "runs")
    assert call("train", *sets, *sizes, *noise)[0] == 2  # made with another vocabulary than train expects
    assert call("train", *sets, *sizes, *noise, "--fragmentation_method", learned)[0] == 0
    status, out, _ = call("evaluate-pretraining", tmp_path / "runs" / "version_0", "--draws", "1")
    assert status == 0
    assert "| model |" in out


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (DataError("is wrong", "file", hint="mend it"), 2, "try: file: is wrong (mend it)"),
        (PermissionError(13, "Permission denied", "/x"), 2, "try: /x: permission denied"),
        (OSError(28, "No space left on device"), 74, "try: no space left on device"),
        (KeyboardInterrupt(), 130, "try: run it again"),
    ],
)
def test_errors_become_a_line_and_a_status(
    capsys: pytest.CaptureFixture[str], error: BaseException, status: int, line: str
) -> None:
    @command("try", interrupted="run it again")
    def fails(argv: object = None) -> int:
        raise error

    assert fails() == status
    assert capsys.readouterr().err == f"{line}\n"


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    @command("try")
    def fails(argv: object = None) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()


def test_one_process_of_several_speaks(monkeypatch: pytest.MonkeyPatch, call: Call, tmp_path: Path) -> None:
    monkeypatch.setenv("RANK", "1")
    assert call("inspect", tmp_path / "none") == (2, "", "")


def test_modules_are_those_of_the_commands() -> None:
    for entry in COMMANDS.values():
        assert callable(import_module(entry.module).main)
