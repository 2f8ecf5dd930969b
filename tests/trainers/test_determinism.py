"""The same command on the same machine gives the same history, and a run folder tells where it came from."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import repeated_runs
import torch
from rank_processes import run_ranks

from trainers.environment import environment, provenance
from trainers.rng import seed_everything

ROOT = Path(__file__).parents[2]
WAYS = {
    "once": (2, "--deterministic", "--num_workers", "1"),
    "again": (2, "--deterministic", "--num_workers", "1"),
    "without_workers": (2, "--deterministic"),
    "one_more_launch": (2, "--deterministic", "--restart", "auto"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repeated")
    repeated_runs.write_data(folder)
    for name, (threads, *more) in WAYS.items():
        save_dir = folder / ("without_workers" if name == "one_more_launch" else name)
        arguments = (folder, save_dir, threads, *more)
        codes = run_ranks(repeated_runs.run, *arguments, log=folder / f"log_{name}_", timeout=400, world=1)
        assert codes == [0], (folder / f"log_{name}_0").read_text()[-3000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("other", ["again", "without_workers"])
def test_two_processes_make_the_same_run(runs: Path, other: str) -> None:
    """With two threads, and with or without a loader process: weights and history, to the last bit."""
    for file in ("history.jsonl", "training_history.json", "checkpoint/best/model.safetensors"):
        assert (runs / "once/version_0" / file).read_bytes() == (runs / other / "version_0" / file).read_bytes(), file
    (state,) = (runs / "once/version_0/training_state").glob("epoch1_*")
    same = runs / other / "version_0/training_state" / state.name / "tensors.safetensors"
    assert (state / "tensors.safetensors").read_bytes() == same.read_bytes()


def test_every_launch_tells_where_it_came_from(runs: Path) -> None:
    folder = runs / "without_workers/version_0"
    launches = [json.loads(line) for line in (folder / "launches.jsonl").read_text().splitlines()]
    assert len(launches) == 2 and launches[1]["options"]["restart"] == "auto"
    for launch in launches:
        assert launch["seed"] == 42 and launch["options"]["deterministic"] is True and launch["command"]
        assert {"python", "torch", "e3nn", "numpy", "ligare"} <= launch["versions"].keys()
        assert launch["commit"] is None or (len(launch["commit"]) == 40 and launch["uncommitted"] in (True, False))
        assert launch["data"].keys() == {str(runs / "train"), str(runs / "valid")} and launch["vocabulary"]
        machine = launch["environment"]
        assert machine["threads"] == 2 and machine["deterministic"] is True
        assert {"host", "processor", "cores", "devices", "cuda"} <= machine.keys()
    assert "environment" not in json.loads((folder / "train_config.json").read_text())


def test_the_variables_that_numbers_depend_on_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("SOME_TOKEN", "secret")
    variables = environment()["variables"]
    assert variables["OMP_NUM_THREADS"] == "3" and "SOME_TOKEN" not in variables
    assert provenance()["versions"]["torch"] == torch.__version__


def test_deterministic_mode_is_strict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # so that it is taken back afterwards, too
    del os.environ["CUBLAS_WORKSPACE_CONFIG"]
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    try:
        seed_everything(1, deterministic=True)
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before


COPY = """
import json, sys, types
sys.modules["torch"] = types.ModuleType("torch")  # takes seconds, and tells nothing here
sys.path.insert(0, sys.argv[1])
from trainers.environment import provenance
print(json.dumps(provenance()))
"""


def test_the_commit_of_another_repository_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed into a folder of somebody's checkout, the package is no part of it; kept there, it is."""

    def git(*words: str) -> str:
        mine = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", *mine, *words], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    def told() -> dict[str, Any]:
        command = [sys.executable, "-c", COPY, str(package)]
        return json.loads(subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout)

    package = tmp_path / "lib" / "site-packages"
    for name in ("trainers/environment.py", "configs/machine.py"):
        (package / name).parent.mkdir(parents=True)
        (package / name).write_bytes((ROOT / name).read_bytes())
        (package / name).with_name("__init__.py").touch()
    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "-m", "Begin")
    assert (told()["commit"], told()["uncommitted"]) == (None, None)
    git("add", "lib")
    git("commit", "--quiet", "-m", "Keep a copy")
    monkeypatch.setenv("GIT_DIR", str(ROOT / "nowhere"))  # as in a hook
    assert told()["commit"] and told()["uncommitted"] is False
    (package / "configs/machine.py").write_text((package / "configs/machine.py").read_text() + "\n")
    assert told()["uncommitted"] is True
