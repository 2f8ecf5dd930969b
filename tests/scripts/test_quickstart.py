"""The quickstart: it empties folders of its own only, and runs its steps in order."""

from pathlib import Path

import pytest
import torch

from configs.errors import ConfigError
from scripts.quickstart import MARKER, main, start_afresh


def test_a_folder_of_its_own_is_emptied(tmp_path: Path) -> None:
    out = tmp_path / "a" / "quickstart"
    start_afresh(out)
    assert [path.name for path in out.iterdir()] == [MARKER]
    (out / "runs").mkdir()
    (out / "runs" / "old").write_text("x")
    start_afresh(out)
    assert [path.name for path in out.iterdir()] == [MARKER]


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    start_afresh(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [MARKER]


def test_any_other_folder_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ConfigError, match="not made by the quickstart"):
        start_afresh(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_fault_of_a_step_ends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out_path", str(tmp_path / "q"), "--n_items", "1"]) == 2
    assert "--n_items: needs at least 2" in capsys.readouterr().err
    assert not (tmp_path / "q" / "runs").exists()


@pytest.mark.slow
def test_from_nothing_to_a_checkpoint_and_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(1)
    out = tmp_path / "q"
    assert main(["--out_path", str(out), "--n_items", "24", "--n_jobs", "1", "--max_epoch", "1"]) == 0
    said = capsys.readouterr().out
    for path in ("data/train/manifest.json", "runs/version_0/checkpoint/best/model.safetensors", "training.png"):
        assert (out / path).is_file(), path
    for promised in ("| translation |", "| rotation |", "| torsion |", "| model |", "| majority |", "| composition |"):
        assert promised in said
    assert str(out / "runs" / "version_0" / "checkpoint" / "best") in said
