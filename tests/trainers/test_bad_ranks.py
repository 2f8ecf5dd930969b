"""Two ranks, one of them with a fault: both do the same, and none waits for one that has gone.

Every rank is a process with a time limit, so one that waits for ever fails the test.
"""

import json
from pathlib import Path
from typing import Any

import bad_ranks
import pytest
import torch
from rank_processes import run_ranks

from trainers.sharding import owners_of

TOLERANCE = {"rel": 2e-4, "abs": 2e-6}  # float32 sums in another order, over 12 Adam steps
STEPS = 12  # of two epochs without a fault


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("bad_ranks")
    codes = run_ranks(bad_ranks.run_cases, folder, log=folder / "log")
    assert codes == [0, 0], [(folder / f"log{rank}").read_text()[-3000:] for rank in (0, 1)]
    return {str(rank): json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)} | {"folder": folder}


def notes(results: dict[str, Any], case: str) -> list[dict[str, Any]]:
    path = results["folder"] / case / "version_0" / "bad_steps.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("case", bad_ranks.CASES)
def test_both_ranks_end_alike(results: dict[str, Any], case: str) -> None:
    assert results["0"][case] == results["1"][case]


@pytest.mark.parametrize(("case", "whole"), [("halves", "plain"), ("halves_accumulate", "accumulate")])
def test_a_rank_takes_its_batch_in_parts_and_the_result_stays(results: dict[str, Any], case: str, whole: str) -> None:
    found, expected = results["0"][case], results["0"][whole]
    assert found["counts"][:2] == expected["counts"][:2] and found["counts"][2] > 0
    assert found["weights"] == pytest.approx(expected["weights"], **TOLERANCE)
    assert {one["rank"] for line in notes(results, case) for one in line["ranks"]} == {1}


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("memory", "out of memory"),
        ("memory_backward", "out of memory"),
        ("memory_accumulate", "out of memory"),
        ("meets_memory", "out of memory"),
        ("meets_memory_backward", "out of memory"),
        ("loss", "non-finite loss"),
        ("gradient", "non-finite gradient"),
    ],
)
def test_both_ranks_leave_out_a_step_that_is_bad_on_one(results: dict[str, Any], case: str, reason: str) -> None:
    skipped = [line for line in notes(results, case) if line["action"] == "skipped"]
    steps, count, _ = results["0"][case]["counts"]
    assert count == len(skipped) > 0 and {line["reason"] for line in skipped} == {reason}
    assert steps == (STEPS // 2 if "accumulate" in case else STEPS - count)
    for line in skipped:
        (at_fault,) = line["ranks"]
        assert at_fault["rank"] == 1 and "item7" in at_fault["ids"] and at_fault["reason"] == reason
        assert at_fault.get("too_large", ["item7"]) == ["item7"]
    other = results["0"]["plain"]["weights"]
    assert all(one == one and abs(one) < 100 for one in results["0"][case]["weights"]) and len(other) == 41


def test_too_many_bad_steps_stop_all_ranks(results: dict[str, Any]) -> None:
    for rank in "01":
        stopped = results[rank]["in_a_row"]
        assert stopped["stopped"].startswith("3 steps in a row could not be used") and stopped["steps"] == 0


def test_validation_leaves_out_the_same_on_all_ranks(results: dict[str, Any]) -> None:
    assert [record["valid"]["left_out"] for record in results["1"]["validation"]["history"]] == [1, 1]
    line = notes(results, "validation")[0]
    assert line["ranks"] == [{"rank": 1, "reason": "out of memory", "ids": ["item5"]}]


def test_weights_that_come_apart_end_the_run(results: dict[str, Any]) -> None:
    for rank in "01":
        assert (
            "the weights of rank 1 are not those of rank 0 at the end of epoch 1" in results[rank]["drift"]["stopped"]
        )


def test_what_a_callback_says_on_the_main_rank_counts(results: dict[str, Any]) -> None:
    history = results["1"]["own_metric"]["history"]
    assert [record["improved"] for record in history] == [True, False]  # and then patience is used up
    assert [record["valid"]["loss"] for record in history] == [0.0, 1.0]


def test_a_checkpoint_that_can_not_be_stored_keeps_ranks_together(results: dict[str, Any]) -> None:
    """The main rank alone knows that it failed, and all ranks take part in the next try."""
    assert [record["epoch"] for record in results["1"]["unstored"]["history"]] == [0, 1, 2]
    kept = json.loads((results["folder"] / "unstored" / "version_0" / "checkpoint" / "topk.json").read_text())
    assert [one["epoch"] for one in kept["checkpoints"]] == [0]
    assert "the checkpoint of epoch 1 could not be stored" in (results["folder"] / "log0").read_text()


def test_a_sharded_optimiser_takes_the_same_steps_and_stores_the_same_state(results: dict[str, Any]) -> None:
    assert results["0"]["shards"] == results["0"]["plain"]
    states = [results["folder"] / case / "version_0" / "training_state" for case in ("shards", "plain")]
    names = [sorted(path.name for path in folder.iterdir()) for folder in states]
    assert names[0] == names[1]
    for name in names[0]:
        tensors = [(folder / name / "tensors.safetensors").read_bytes() for folder in states]
        values = [json.loads((folder / name / "state.json").read_text())["optimizer"] for folder in states]
        assert tensors[0] == tensors[1] and values[0] == values[1]


def test_a_sharded_run_goes_on_with_and_without_shards_on_any_number_of_ranks(results: dict[str, Any]) -> None:
    assert results["0"]["shards_resumed"] == results["0"]["plain"]
    alone = bad_ranks.continued(results["folder"] / "shards_stopped", results["folder"] / "alone", "none")
    assert alone["weights"] == pytest.approx(results["0"]["plain"]["weights"], **TOLERANCE)
    assert alone["counts"] == results["0"]["plain"]["counts"]


def test_shares_hold_about_as_many_numbers() -> None:
    sizes = [100, 1, 50, 50, 7, 0, 90, 3]
    loads = [sum(size for size, one in zip(sizes, owners_of(sizes, 3)) if one == rank) for rank in range(3)]
    assert sum(loads) == sum(sizes) and max(loads) - min(loads) <= 10


def test_a_plateau_is_one_of_the_joint_metric(results: dict[str, Any]) -> None:
    assert results["0"]["plateau"]["lr"] == results["1"]["plateau"]["lr"] < 1.0


def test_unequal_numbers_of_batches_are_refused(results: dict[str, Any]) -> None:
    for rank in "01":
        assert (
            "number of batches differ between ranks (rank 0: (0, 0, 0, 6), rank 1: (0, 0, 0, 5))"
            in (results[rank]["uneven"]["stopped"])
        )


@pytest.mark.parametrize("how", ["killed", "hangs", "error"])
def test_a_rank_that_is_gone_is_not_waited_for(tmp_path: Path, how: str) -> None:
    """Killed, or with an error of its own: at once. Without a sign of life: after --rank_timeout (here 15 seconds)."""
    codes = run_ranks(bad_ranks.leave, tmp_path, how, log=tmp_path / "log", grace=2 if how == "hangs" else 30)
    assert codes[0] == 1, (tmp_path / "log0").read_text()[-2000:]
    assert codes[1] == {"killed": -9, "hangs": None, "error": 1}[how]
    assert (tmp_path / "rank0.txt").read_text().startswith("3 ")
