"""A continued run is compared with the command that continues it."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_resume import OPTIONS, run

from configs.errors import ConfigError
from trainers.changes import check_changes, newest_launch
from trainers.training_state import read_state


def record(folder: Path, options: dict[str, Any], **facts: Any) -> Path:
    """A run folder as far as its launches go."""
    folder.mkdir(exist_ok=True)
    with open(folder / "launches.jsonl", "a") as file:
        file.write(json.dumps({"options": options} | facts) + "\n")
    return folder


def test_harmless_changes_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path / "runs", stop=4)
    run(tmp_path / "runs", log_every=5)
    assert "changed since the run started: --log_every was 3, is 5" in capsys.readouterr().err
    assert newest_launch(tmp_path / "runs" / "version_0")["changed"] == ["--log_every was 3, is 5"]


def test_other_changes_are_refused_with_old_and_new_value_until_they_are_allowed(tmp_path: Path) -> None:
    run(tmp_path / "runs", stop=5)
    changes: dict[str, Any] = {"grad_clip": 2.0, "seed": 7}
    message = "--grad_clip was 1.0, is 2.0; --seed was 42, is 7.*--allow_changes grad_clip seed"
    with pytest.raises(ConfigError, match=message):
        run(tmp_path / "runs", **changes)
    with pytest.raises(ConfigError, match=r"--seed was 42, is 7 "):
        run(tmp_path / "runs", allow_changes=["grad_clip"], **changes)
    assert read_state(tmp_path / "runs" / "version_0").values["global_step"] == 4
    run(tmp_path / "runs", stop=9, allow_changes=["grad_clip", "seed"], **changes)
    with pytest.raises(ConfigError, match=r"--grad_clip was 2\.0, is 1\.0"):  # the run has it now
        run(tmp_path / "runs")
    assert run(tmp_path / "runs", **changes).global_step == 24


def test_a_longer_run_is_another_one_only_where_the_rates_end_with_it(tmp_path: Path) -> None:
    run(tmp_path / "cosine", stop=4)
    with pytest.raises(ConfigError, match="--max_epoch was 4, is 6"):
        run(tmp_path / "cosine", max_epoch=6)
    constant = {"lr_schedule": "none", "final_lr": None}
    run(tmp_path / "constant", stop=4, **constant)
    assert len(run(tmp_path / "constant", max_epoch=5, **constant).history) == 5


def test_further_epochs_are_a_run_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from stand_ins import make_trainer

    run(tmp_path / "runs")
    state = read_state(tmp_path / "runs" / "version_0")
    state.further = True
    make_trainer(tmp_path / "more", state, **(OPTIONS | {"max_epoch": 1, "grad_clip": 2.0})).train(gpus=[-1])
    assert "--grad_clip was 1.0, is 2.0" in capsys.readouterr().err


def test_data_are_known_by_their_content(tmp_path: Path) -> None:
    old = {"train_set": "a", "valid_set": "v", "seed": 1}
    folder = record(tmp_path, old, data={"a": "1" * 64, "v": "2" * 64}, vocabulary="x")
    moved = {"data": {"b": "1" * 64, "v": "2" * 64}, "vocabulary": "x"}
    assert check_changes(folder, old | {"train_set": "b"}, moved) == ["--train_set was 'a', is 'b'"]
    with pytest.raises(ConfigError, match="--train_set a has other content than it had"):
        check_changes(folder, old, {"data": {"a": "3" * 64, "v": "2" * 64}, "vocabulary": "x"})
    with pytest.raises(ConfigError, match="--train_set was 'a', is 'b'"):
        check_changes(folder, old | {"train_set": "b"}, moved | {"data": {"b": "3" * 64, "v": "2" * 64}})
    with pytest.raises(ConfigError, match="--fragmentation_method None has other content"):
        check_changes(folder, old, {"data": {"a": "1" * 64, "v": "2" * 64}, "vocabulary": "y"})
    assert check_changes(folder, old, {}) == []


def test_a_launch_that_was_cut_short_is_passed_over(tmp_path: Path) -> None:
    record(record(tmp_path, {"seed": 1}), {"seed": 2})
    with open(tmp_path / "launches.jsonl", "a") as file:
        file.write('{"options": {"seed": 3')
    assert newest_launch(tmp_path)["options"] == {"seed": 2}
    (tmp_path / "launches.jsonl").unlink()
    assert check_changes(tmp_path, {"seed": 4}, {}) == []
