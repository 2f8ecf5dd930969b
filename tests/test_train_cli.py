"""train.py from its command line: a run from shards to a checkpoint, on one and two processes, and its faults."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import train
from data.item import Item
from data.shards import ShardWriter
from data.vocab import load_vocabulary
from models.persistence import from_pretrained
from trainers.training_state import read_state

ROOT = Path(__file__).parent.parent
SIZES = "--atom_hidden_size 16 --block_hidden_size 16 --edge_size 8 --k_neighbors 3 --n_layers 1".split()
NOISE = "--translation_noise 1 --rotation_noise 0.25 --torsion_noise 0.5 --mask_proportion 0.2 --rot_weight 0.1".split()
NO_NOISE = "--translation_noise 0 --rotation_noise 0 --torsion_noise 0"
QUIET = "--gpus -1 --no_progress --no_use_tensorboard --log_every 1".split()


def make_item(seed: int, n_blocks: int = 6) -> Item:
    """Blocks of four atoms, one rotatable bond each."""
    rng = np.random.default_rng(seed)
    starts = np.arange(0, 4 * n_blocks, 4)
    return Item(
        id=f"item{seed}",
        X=(np.repeat(rng.normal(size=(n_blocks, 3)) * 6, 4, axis=0) + rng.normal(size=(4 * n_blocks, 3))).astype("f4"),
        A=rng.integers(8, 12, 4 * n_blocks).astype("u1"),
        B=rng.integers(4, 10, n_blocks).astype("u2"),
        block_lengths=np.full(n_blocks, 4, "i4"),
        segment_ids=(np.arange(n_blocks) >= n_blocks // 2).astype("u1"),
        modality=0,
        tor_bonds=np.stack([starts + 1, starts + 2], axis=1).astype("i4"),
        tor_depth=np.zeros(n_blocks, "u1"),
        tor_moved_lengths=np.ones(n_blocks, "i4"),
        tor_moved=(starts + 3).astype("i4"),
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options that name the data sets."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("shards")
    for name, seeds in (("train", range(10)), ("valid", range(10, 15))):
        with ShardWriter(folder / name, load_vocabulary(None).fingerprint) as writer:
            for seed in seeds:
                writer.add(make_item(seed, 4 + seed % 4))
    return ["--train_set", str(folder / "train"), "--valid_set", str(folder / "valid")]


def options(data: list[str], save_dir: Path, *more: str) -> list[str]:
    batches = ["--max_n_vertex_per_gpu", "16", "--shuffle", "--max_epoch", "2"]
    return [*data, "--save_dir", str(save_dir), *SIZES, *NOISE, *QUIET, *batches, *more]


def history(run: Path) -> list[dict[str, Any]]:
    return json.loads((run / "training_history.json").read_text())


@pytest.fixture(scope="module")
def finished(data: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    save_dir = tmp_path_factory.mktemp("finished")
    assert train.main(options(data, save_dir, "--dropout", "0.1")) == 0
    return save_dir / "version_0"


def test_a_run_leaves_what_it_promises(finished: Path, data: list[str]) -> None:
    saved = json.loads((finished / "train_config.json").read_text())
    assert saved["options"]["mask_proportion"] == 0.2 and saved["seed"] == 42 and saved["versions"]["torch"]
    assert set(saved["data"]) == {data[1], data[3]} and all(len(sha) == 64 for sha in saved["data"].values())
    assert len(history(finished)) == 2 and history(finished)[1]["valid"]["masked_base"] > 0
    model = from_pretrained(finished / "checkpoint" / "best")
    assert type(model).__name__ == "DenoisePretrainModel"
    read_state(finished)


def test_the_saved_options_repeat_the_run(finished: Path, tmp_path: Path) -> None:
    saved = json.loads((finished / "train_config.json").read_text())["options"]
    (tmp_path / "again.json").write_text(json.dumps(saved | {"save_dir": str(tmp_path / "runs")}))
    assert train.main(["--config", str(tmp_path / "again.json")]) == 0
    one, other = read_state(finished), read_state(tmp_path / "runs" / "version_0")
    assert all(torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items())
    assert history(finished) == history(tmp_path / "runs" / "version_0")


def test_restart_auto_with_the_same_command_equals_one_run(
    finished: Path, data: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted inside the second epoch, with loader processes, the second time from the stored position."""
    command = options(data, tmp_path, "--dropout", "0.1", "--restart", "auto", "--save_every_steps", "1")
    command += ["--num_workers", "1"]
    original = train.create_trainer

    def interrupted(*arguments: Any) -> Any:
        trainer = original(*arguments)
        after_step = trainer._after_step

        def stop() -> None:
            after_step()
            if trainer.global_step == 6:
                raise KeyboardInterrupt

        trainer._after_step = stop
        return trainer

    monkeypatch.setattr(train, "create_trainer", interrupted)
    assert train.main(command) == 130
    assert read_state(tmp_path / "version_0").values["batch"] > 0
    monkeypatch.setattr(train, "create_trainer", original)
    assert train.main(command) == 0
    one, other = read_state(finished), read_state(tmp_path / "version_0")
    assert all(torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items())
    assert (finished / "history.jsonl").read_bytes() == (tmp_path / "version_0" / "history.jsonl").read_bytes()


def test_another_option_would_make_another_run(
    finished: Path, data: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The same command with one option changed: refused by name, or told, and nothing is written before."""
    run = shutil.copytree(finished, tmp_path / "version_0", symlinks=True)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    command = options(data, tmp_path, "--dropout", "0.1", "--restart", "auto")
    assert train.main([*command, "--lr", "0.5"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "--lr was 0.001, is 0.5" in said and said.endswith("--allow_changes lr)")
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert train.main([*command, "--lr", "0.5", "--allow_changes", "lr", "--save_topk", "2"]) == 0
    said = capsys.readouterr().err
    for change in ("--lr was 0.001, is 0.5", "--save_topk was -1, is 2"):
        assert f"changed since the run started: {change}" in said
    shutil.move(data[1], tmp_path / "moved")
    try:
        assert train.main([*command, "--lr", "0.5", "--train_set", str(tmp_path / "moved")]) == 0
    finally:
        shutil.move(tmp_path / "moved", data[1])
    assert f"--train_set was {data[1]!r}, is {str(tmp_path / 'moved')!r}" in capsys.readouterr().err


def test_resume_trains_further_epochs(finished: Path, data: list[str], tmp_path: Path) -> None:
    assert train.main(options(data, tmp_path, "--dropout", "0.1", "--resume", str(finished), "--max_epoch", "1")) == 0
    assert [record["epoch"] for record in history(tmp_path / "version_0")] == [0, 1, 2]


def test_start_from_a_checkpoint(
    finished: Path, data: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    best = finished / "checkpoint" / "best"
    start = ["--pretrain_ckpt", str(best), "--max_steps", "1", "--lr", "1e-12"]
    assert train.main(options(data, tmp_path, *start)) == 0
    assert "tensors loaded" in capsys.readouterr().err
    old, new = from_pretrained(best).state_dict(), from_pretrained(tmp_path / "version_0/checkpoint/best").state_dict()
    assert all(torch.allclose(tensor, new[name], atol=1e-6) for name, tensor in old.items())


@pytest.mark.slow
def test_two_processes_train_the_real_model(data: list[str], tmp_path: Path) -> None:
    """Fixed batches: each step's joint batch is what one process sees, so the numbers agree."""
    command = [*data, *SIZES, *NOISE, *QUIET, "--batch_size", "4", "--max_epoch", "2", "--shuffle"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    launcher += ["--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0", "train.py"]
    done = subprocess.run(
        [*launcher, *command, "--save_dir", str(tmp_path / "two")],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert train.main([*command, "--save_dir", str(tmp_path / "one")]) == 0
    two, one = history(tmp_path / "two" / "version_0"), history(tmp_path / "one" / "version_0")
    for a, b in zip(two, one, strict=True):
        for part in ("train", "valid"):
            assert a[part] == pytest.approx(b[part], rel=2e-3)
    saved = json.loads((tmp_path / "two" / "version_0" / "train_config.json").read_text())
    assert saved["world_size"] == 2


@pytest.mark.parametrize(
    ("drop", "more", "message"),
    [
        ("--train_set", [], "train: --train_set: is required"),
        ("--save_dir", [], "train: --save_dir: is required"),
        (
            "",
            "--translation_noise 0 --rotation_noise 0 --torsion_noise 0 --mask_proportion 0".split(),
            "nothing to learn",
        ),
        ("", ["--train_set", "nowhere"], "nowhere"),
        ("", ["--resume", "nowhere"], "train: nowhere: is neither a run folder nor a training state"),
        ("", ["--pretrain_ckpt", "nowhere"], "train: nowhere: no such folder"),
        ("", ["--monitor", "accuracy"], "train: --monitor: 'accuracy' is not a validation metric"),
        ("", ["--gpus", "77"], "train: --gpus: device 77 is not there"),
        ("", ["--fragmentation_method", "PS_300"], "vocabulary"),
        ("", ["--block_embedding_size", "8"], "has no block_embeddings, which --block_embedding_size asks for"),
    ],
)
def test_faults_are_one_line_and_status_2(
    data: list[str], tmp_path: Path, capsys: pytest.CaptureFixture, drop: str, more: list[str], message: str
) -> None:
    command = options(data, tmp_path / "runs", *more)
    if drop:
        position = command.index(drop)
        del command[position : position + 2]
    assert train.main(command) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("train: ") and message in last


def test_a_process_with_a_wrong_flag_shows_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "train.py", "--task", "nothing"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "unknown task 'nothing'" in done.stdout + done.stderr and "Traceback" not in done.stdout + done.stderr


def test_allocator_setting_is_a_default_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, expected in ((None, "expandable_segments:True"), ("max_split_size_mb:64", "max_split_size_mb:64")):
        monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF", raising=False)
        if given is not None:
            monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", given)
        importlib.reload(train)
        assert os.environ["PYTORCH_CUDA_ALLOC_CONF"] == expected


def test_create_trainer_is_importable_from_train() -> None:
    from trainers import create_trainer

    assert train.create_trainer is create_trainer
