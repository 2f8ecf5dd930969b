"""The page of a run: complete on its own, honest about what is missing, and deaf to what data sets are called."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from scripts.report import main

EVIL = "<script>alert('$x_{')</script>\u202e"


def write_run(folder: Path, task: str = "regression") -> Path:
    """A finished run of a task with labels; the name of an item, a group and a class do harm if they are let."""
    folder.mkdir(parents=True)
    labels = {"classes": [EVIL, "b", "c"]} if "class" in task else {"names": ["label"], "unit": "pK"}
    config = {"options": {"task": task, "max_epoch": 1, "lr": 0.25}, "labels": labels, "parameters": 12}
    (folder / "train_config.json").write_text(json.dumps(config))
    valid = {"loss": 1.0, "rmse": 0.5}
    step = {"event": "step", "epoch": 0, "step": 1, "lr": 1e-3, "gradient_norm": 2.0, "train": {"loss": 2.0}}
    epoch = {
        "event": "epoch",
        "epoch": 0,
        "step": 2,
        "lr": 1e-3,
        "improved": True,
        "train": {"loss": 2.0},
        "valid": valid,
    }
    (folder / "history.jsonl").write_text(json.dumps(step) + "\n" + json.dumps(epoch) + "\n")
    score = {
        "rmse": {"value": 0.5, "low": 0.25, "high": 0.75},
        "accuracy/b": {"value": 0.125, "low": None, "high": None},
    }
    final = {"monitor": "rmse", "checkpoint": "epoch0_step2", "resamples": 9, "unit": "pK"}
    (folder / "final_report.json").write_text(
        json.dumps(final | {"sets": {"test": {"items": 3, "groups": 2, "scores": score}}})
    )
    bad = {"phase": "train", "epoch": 0, "batch": 3, "step": 1, "action": "skipped", "reason": "non-finite loss"}
    (folder / "bad_steps.jsonl").write_text(json.dumps(bad | {"ranks": [{"rank": 0, "ids": [EVIL]}]}) + "\n")
    head, rows = "pred", ["1.5", "2.5", "0.5"]
    if "class" in task:
        head, rows = f'"pred {EVIL}",pred b,pred c', ["0.2,0.7,0.1", "0.1,0.2,0.7", "0.4,0.3,0.3"]
    lines = [f'"{EVIL}{n}","{EVIL}{n % 2}",{n},{row}' for n, row in enumerate(rows)]
    (folder / "predictions_test.csv").write_text(f"id,group,target,{head}\n" + "\n".join(lines) + "\n")
    (folder / "checkpoint" / "best").mkdir(parents=True)
    (folder / "checkpoint" / "best" / "README.md").write_text(f"# A card {EVIL}\n")
    return folder


class Reader(HTMLParser):
    """Tags and addresses of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]


@pytest.mark.parametrize("task", ["regression", "multiclass_classifier"])
def test_the_page_of_a_finished_run_is_whole_and_harmless(tmp_path: Path, task: str) -> None:
    run = write_run(tmp_path / "version_0", task)
    assert main([str(run)]) == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    reader = Reader(page)
    assert "script" not in reader.tags and "&lt;script&gt;" in page
    pictures = [address for address in reader.addresses if not address.startswith("#")]
    assert len(pictures) == (4 if task != "regression" else 3)  # curves, predictions, groups; and coverage
    assert all(address.startswith("data:image/svg+xml;base64,") for address in pictures)
    for told in ("0.25", "0.75", "accuracy/b", "non-finite loss", "A card", "Worst items", "12 parameters"):
        assert told in page, told


def test_parts_that_are_missing_are_said_in_their_place(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text("")
    assert main([str(tmp_path), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    for told in (
        "Nothing was measured yet",
        "No step was logged yet",
        "No predictions are stored",
        "every step counted",
        "does not tell its data",
        "no train_config.json",
        "No checkpoint with a model card",
    ):
        assert told in page, told


def test_lines_of_another_kind_are_passed_over(tmp_path: Path) -> None:
    lines = [
        '{"event": "epoch", "train": {"loss": 1}}',
        '{"event": "step", "step": 3, "train": 5}',
        '{"step": 1}',
        "[]",
    ]
    (tmp_path / "history.jsonl").write_text("\n".join(lines))
    assert main([str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "No step was logged yet" in page and "1 damaged lines" in page


def test_tasks_without_predictions_say_so(tmp_path: Path) -> None:
    (tmp_path / "train_config.json").write_text('{"options": {"task": "masking"}}')
    assert main([str(tmp_path)]) == 0
    assert "it has no prediction for each item" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_cross_validation_has_a_page_of_all_its_runs(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_run(tmp_path / "runs" / f"fold_0_seed_{seed}" / "version_0")
    (tmp_path / "cross_validation.json").write_text("{}")
    assert main([str(tmp_path), "--out", str(tmp_path / "early.html")]) == 0
    assert "There is no results.json yet" in (tmp_path / "early.html").read_text(encoding="utf-8")
    single = {"rmse": {"mean": 0.5, "sd": None, "n": 2}}
    run = {"fold": "fold_0", "seed": 1, "epoch": 0, "test": {"rmse": 0.5}, "valid": {}}
    found = {"single": single, "pooled": {"rmse": {"value": 0.4375, "low": 0.25, "high": 0.75}}, "runs": [run]}
    (tmp_path / "results.json").write_text(json.dumps(found | {"failed": {}, "resampled": "groups", "resamples": 9}))
    (tmp_path / "predictions.csv").write_text("id,group,target,ensemble,ensemble_sd\na,x,1,2,0.5\nb,y,1,1,0.1\n")
    assert main([str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "0.4375" in page and "agreement of the ensemble" in page and "resamples of groups" in page


def test_a_foreign_folder_gives_one_line_and_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--out", str(tmp_path / "page.html")]) == 2
    assert re.fullmatch(r"report: .*is not a run folder.*\n", capsys.readouterr().err)
    assert not list(tmp_path.iterdir())
