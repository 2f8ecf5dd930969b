"""Two ranks (gloo) agree with each other and with one rank on the same joint batches.

The ranks get unequal shares (one item against three), so that means of means would be noticed.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import two_ranks

HERE = Path(__file__).parent
TOLERANCE = {"rel": 2e-4, "abs": 2e-6}  # float32 sums in another order, over 18 Adam steps


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ranks 0 and 1 saw, and what a single process sees, for each case."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("ranks")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE), os.environ.get("PYTHONPATH", "")])
    }
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0"]
    command += ["--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0"]
    done = subprocess.run(
        [*command, str(HERE / "two_ranks.py"), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    out = {f"rank{r}": json.loads((folder / f"rank{r}.json").read_text()) for r in (0, 1)}
    out["alone"] = {case: two_ranks.run(folder / "alone", case) for case in two_ranks.CASES}
    return out | {"folder": folder}


@pytest.mark.parametrize("case", two_ranks.CASES)
def test_both_ranks_have_the_same_weights_and_history(results: dict[str, Any], case: str) -> None:
    one, other = results["rank0"][case], results["rank1"][case]
    assert one == other | {"gradients": one["gradients"]}


@pytest.mark.parametrize("case", ["plain", "accumulate", "stops_early", "sometimes_unused", "resumed"])
def test_two_ranks_train_like_one(results: dict[str, Any], case: str) -> None:
    two, one = results["rank0"][case], results["alone"][case]
    assert two["gradients"] == pytest.approx(one["gradients"], **TOLERANCE)
    assert two["steps"] == one["steps"]
    if case != "stops_early":  # a rate of 3 makes rounding grow
        assert two["weights"] == pytest.approx(one["weights"], **TOLERANCE)


def test_validation_numbers_are_those_of_one_rank(results: dict[str, Any]) -> None:
    two, one = results["rank0"]["plain"]["history"], results["alone"]["plain"]["history"]
    for part in ("train", "valid"):
        assert [h[part]["loss"] for h in two] == pytest.approx([h[part]["loss"] for h in one], **TOLERANCE)


def test_early_stopping_is_decided_together(results: dict[str, Any]) -> None:
    lengths = {len(results[who]["stops_early"]["history"]) for who in ("rank0", "rank1", "alone")}
    assert len(lengths) == 1 and lengths.pop() < 8


def test_the_end_of_time_is_decided_together(results: dict[str, Any]) -> None:
    assert [results[who]["out_of_time"]["steps"] for who in ("rank0", "rank1", "alone")] == [6, 6, 6]


def test_both_ranks_skip_a_batch_that_is_bad_on_one(results: dict[str, Any]) -> None:
    for who in ("rank0", "rank1"):
        assert results[who]["bad_item"]["skipped"] == 3 and results[who]["bad_item"]["steps"] == 3 * 5
        assert results[who]["bad_item_accumulate"]["skipped"] == 3
    log = (results["folder"] / "bad_item" / "version_0" / "bad_steps.jsonl").read_text().splitlines()
    assert len(log) == 3
    for line in map(json.loads, log):
        (bad_rank,) = line["ranks"]
        assert "item7" in bad_rank["ids"]


def test_a_resumed_run_on_two_ranks_equals_the_uninterrupted_one(results: dict[str, Any]) -> None:
    assert results["rank0"]["resumed"]["weights"] == results["rank0"]["plain"]["weights"]
    assert results["rank0"]["resumed"]["history"] == results["rank0"]["plain"]["history"]
    logs = [(results["folder"] / case / "version_0" / "history.jsonl").read_bytes() for case in ("plain", "resumed")]
    assert logs[0] == logs[1]
