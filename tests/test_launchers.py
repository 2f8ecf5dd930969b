"""The launch scripts, called as the README says, give train.py options that it understands."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from configs.cli import parse
from configs.schema import TASKS, RunConfig

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
LAUNCH = ["-m", "trainers.launch"]
SETTINGS = dict(re.findall(r"(\w+)=([\w/]+)", re.search(r"^TRAIN_SET=.*pretrain\.sh", README, re.M)[0]))  # type: ignore[index]


@pytest.fixture
def stubs(tmp_path: Path) -> dict[str, str]:
    """An environment in which the launchers write down what they would start; there is no GPU."""
    for name in ("python", "srun", "scontrol", "nvidia-smi"):
        answer = {"scontrol": "echo node1", "nvidia-smi": "exit 1"}.get(name, 'printf "%s\\n" "$@"')
        (tmp_path / name).write_text(f"#!/bin/sh\n{answer}\n")
        (tmp_path / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if name in ("HOME", "LANG")}
    return kept | {"PATH": f"{tmp_path}:/usr/bin:/bin"}


def launch(script: str, environment: dict[str, str], *options: str) -> tuple[list[str], RunConfig]:
    """What goes to the launcher of processes, and what train.py makes of the rest."""
    done = subprocess.run(
        ["bash", str(ROOT / "scripts" / script), *options], env=environment, capture_output=True, text=True, check=True
    )
    words = done.stdout.splitlines()
    program = words.index("train.py")
    return words[:program], parse(words[program + 1 :])


def test_settings_are_in_both_calls_of_the_readme() -> None:
    assert SETTINGS == {"TRAIN_SET": "split/train", "VALID_SET": "split/valid", "SAVE_DIR": "runs"}
    exported = re.search(r"sbatch --export ALL,(\S+) scripts/pretrain\.slurm", README)
    assert exported is not None
    assert dict(pair.split("=") for pair in exported[1].split(",")) == SETTINGS


def test_without_a_gpu_the_cpu_is_used(stubs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    launcher, run = launch("pretrain.sh", stubs | SETTINGS, "--max_epoch", "3")
    assert launcher == [*LAUNCH, "--standalone", "--nproc_per_node", "2"]
    assert (run.data.train_set, run.data.valid_set, run.train.save_dir) == ("split/train", "split/valid", "runs")
    assert (run.gpus, run.start.restart, run.train.max_epoch) == ((-1,), "auto", 3)
    assert run.encoder.atom_hidden_size == 32  # of configs/pretrain.yaml


def test_every_named_gpu_gets_a_process(stubs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    launcher, run = launch("pretrain.sh", stubs | SETTINGS | {"GPUS": "0 2 3"})
    assert launcher[-1] == "3"
    assert run.gpus == (0, 2, 3)


def test_slurm_starts_a_process_for_every_gpu_of_every_node(
    stubs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    job = {"SLURM_SUBMIT_DIR": str(ROOT), "SLURM_GPUS_ON_NODE": "4", "SLURM_NNODES": "2", "SLURM_JOB_ID": "7"}
    launcher, run = launch("pretrain.slurm", stubs | SETTINGS | job | {"SLURM_JOB_NODELIST": "node[1-2]"})
    assert launcher[:7] == ["python", *LAUNCH, "--nnodes", "2", "--nproc_per_node", "4"]
    assert launcher[-1].startswith("node1:")
    assert (run.gpus, run.start.restart, run.train.progress) == ((0, 1, 2, 3), "auto", False)


SLURM = {"SLURM_SUBMIT_DIR": str(ROOT), "SLURM_NNODES": "1", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node1"}


@pytest.mark.parametrize(
    ("on_signal", "signalled", "status", "requeued"),
    [
        ("exit 75", True, 75, True),  # stopped in order
        ("echo done; exit 0", True, 0, False),  # the run ended just then
        ("exit 75", False, 2, False),  # a fault of the input: the same again would not help
    ],
)
def test_slurm_requeues_a_job_that_was_stopped_in_order(
    stubs: dict[str, str], tmp_path: Path, on_signal: str, signalled: bool, status: int, requeued: bool
) -> None:
    """The time limit is near: SLURM tells the script, the script its step; status 75 leads back to the queue."""
    wait = f'trap "{on_signal}" TERM; touch {tmp_path}/started; while true; do sleep 0.05; done'
    (tmp_path / "srun").write_text(f"#!/bin/bash\n{wait if signalled else 'exit 2'}\n")
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\n[ $1 = requeue ] && echo $2 >{tmp_path}/requeued || echo node1\n")
    script = subprocess.Popen(["bash", str(ROOT / "scripts" / "pretrain.slurm")], env=stubs | SETTINGS | SLURM)
    while signalled and script.poll() is None and not (tmp_path / "started").exists():
        time.sleep(0.01)
    if signalled:
        script.send_signal(signal.SIGUSR1)
    assert script.wait(300) == status
    assert (tmp_path / "requeued").exists() is requeued
    assert not requeued or (tmp_path / "requeued").read_text() == "7\n"


TASK_SCRIPTS = {
    "train_affinity.sh": "PDBBind",
    "train_regression.sh": "regression",
    "train_binary_classifier.sh": "binary_classifier",
    "train_multiclass_classifier.sh": "multiclass_classifier",
    "train_multilabel.sh": "multilabel",
    "train_masking.sh": "masking",
    "train_prot_interface.sh": "prot_interface",
}


def test_every_task_has_a_launcher() -> None:
    assert {path.name for path in (ROOT / "scripts").glob("train_*.sh")} == set(TASK_SCRIPTS)
    assert {*TASK_SCRIPTS.values()} | {task for task in TASKS if task.startswith("pretrain")} == set(TASKS)


@pytest.mark.parametrize("script", TASK_SCRIPTS)
def test_a_launcher_of_a_task_starts_it_from_a_checkpoint(
    stubs: dict[str, str], monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.chdir(ROOT)
    more = {"PRETRAIN_CKPT": "checkpoints/pretrain_small", "TEST_SET": "split/test"}
    launcher, run = launch(script, stubs | SETTINGS | more, "--lr", "1e-4")
    assert launcher == [*LAUNCH, "--standalone", "--nproc_per_node", "2"]
    assert (run.task, run.data.train_set, run.report.test_set) == (TASK_SCRIPTS[script], "split/train", "split/test")
    assert (run.start.pretrain_ckpt, run.start.restart, run.train.lr) == (more["PRETRAIN_CKPT"], "auto", 1e-4)


@pytest.mark.parametrize("script", ["pretrain.sh", "pretrain.slurm", "train_affinity.sh"])
def test_a_missing_setting_is_named(stubs: dict[str, str], script: str) -> None:
    environment = stubs | {"SAVE_DIR": "runs", "SLURM_SUBMIT_DIR": str(ROOT)}
    done = subprocess.run(
        ["bash", str(ROOT / "scripts" / script)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "TRAIN_SET: set TRAIN_SET to a folder of shards" in done.stderr
