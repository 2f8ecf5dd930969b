"""Two ranks (gloo) fine-tune as one does: what is frozen, or trains later, shares gradients from its epoch on."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import two_ranks_finetune

HERE = Path(__file__).parent
TOLERANCE = {"rel": 2e-4, "abs": 2e-6}  # float32 sums in another order, over 18 Adam steps


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ranks 0 and 1 saw, and what a single process sees, for each case."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("ranks")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE)])}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0"]
    command += ["--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0"]
    script = str(HERE / "two_ranks_finetune.py")
    done = subprocess.run([*command, script, str(folder)], env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    out = {f"rank{r}": json.loads((folder / f"rank{r}.json").read_text()) for r in (0, 1)}
    return out | {"alone": {case: two_ranks_finetune.run(folder / "alone", case) for case in two_ranks_finetune.CASES}}


@pytest.mark.parametrize("case", two_ranks_finetune.CASES)
def test_ranks_agree_with_each_other(results: dict[str, Any], case: str) -> None:
    assert results["rank0"][case] == results["rank1"][case]


@pytest.mark.parametrize("case", two_ranks_finetune.CASES)
def test_two_ranks_train_like_one(results: dict[str, Any], case: str) -> None:
    two, one = results["rank0"][case], results["alone"][case]
    for what in ("weights", "gradients", "average"):
        assert two[what].keys() == one[what].keys()
        for name in one[what]:
            assert two[what][name] == pytest.approx(one[what][name], **TOLERANCE), (what, name)
    assert two["steps"] == one["steps"]


@pytest.mark.parametrize("case", ["resumed", "resumed_at_a_stage"])
def test_resumed_between_stages_equals_the_uninterrupted_run(results: dict[str, Any], case: str) -> None:
    assert results["rank0"][case] == results["rank0"]["staged"]


def test_frozen_parts_have_no_gradient(results: dict[str, Any]) -> None:
    assert set(results["rank0"]["head_only"]["gradients"]) == {"energy_ffn.weight", "energy_ffn.bias"}
    assert set(results["rank0"]["staged"]["gradients"]) == set(results["rank0"]["staged"]["weights"])
