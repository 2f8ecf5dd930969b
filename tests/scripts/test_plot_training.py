"""Curves of runs."""

import json
from pathlib import Path

import pytest

from scripts.plot_training import choose, curve, curves, main, named, panels, read_history


def write_run(folder: Path, epochs: int = 3) -> Path:
    folder.mkdir(parents=True)
    lines = []
    for epoch in range(epochs):
        parts = {"loss": 3.0 - epoch, "torsion_loss": 1.0 / (epoch + 1), "torsion_base": 1.0, "masked_accuracy": 0.1}
        lines.append({"event": "step", "epoch": epoch, "step": 5 * epoch + 5, "lr": 1e-3, "train": parts})
        valid = parts | {"masked_majority_rate": 0.05}
        lines.append(
            {"event": "epoch", "epoch": epoch, "step": 5 * epoch + 5, "lr": 1e-3, "train": parts, "valid": valid}
        )
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_one_and_several_runs_are_drawn(tmp_path: Path) -> None:
    one, two = write_run(tmp_path / "a" / "version_0"), write_run(tmp_path / "b" / "version_0", epochs=5)
    assert main([str(one), str(two), "--out", str(tmp_path / "both.png")]) == 0
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")
    assert list(named([one, two])) == ["a/version_0", "b/version_0"] and list(named([one])) == ["version_0"]


def test_every_loss_gets_a_panel_and_bases_none(tmp_path: Path) -> None:
    records = read_history(write_run(tmp_path / "run"))
    assert panels({"run": records}) == ["loss", "torsion_loss", "masked_accuracy"]
    assert curve(records, "epoch", "valid", "torsion_loss") == ([5, 10, 15], [1.0, 0.5, pytest.approx(1 / 3)])


def test_what_frequency_scores_is_drawn_beside_the_score(tmp_path: Path) -> None:
    valid = {"loss": 1.0, "macro_ap": 0.4, "macro_ap_by_frequency": 0.1}
    lines = [{"event": "epoch", "step": 5 * n, "valid": valid} for n in (1, 2)]
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    records = {"run": read_history(tmp_path)}
    assert panels(records) == ["loss", "macro_ap"]
    (axes,) = curves(records, ["macro_ap"]).axes
    dotted = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert [line.get_label() for line in dotted] == ["by frequency"]
    assert list(dotted[0].get_ydata()) == [0.1, 0.1]


def test_an_unknown_kind_of_picture_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "history.jsonl").write_text('{"event": "epoch", "step": 1, "valid": {"loss": 1.0}}\n')
    assert main([str(tmp_path), "--out", str(tmp_path / "x.doc")]) == 2
    assert "--out" in capsys.readouterr().err and not (tmp_path / "x.doc").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not a run folder: it has no history.jsonl"),
        ('{"event": "step"}\n', "holds no step or epoch to draw yet"),
        ("{torn\n", "holds no step or epoch to draw yet"),
    ],
)
def test_faults_are_named(tmp_path: Path, capsys: pytest.CaptureFixture, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "history.jsonl").write_text(content)
    assert main([str(tmp_path), "--out", str(tmp_path / "x.png")]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "x.png").exists()


def test_a_run_before_its_first_epoch_is_drawn_without_the_line_that_a_kill_cut(tmp_path: Path) -> None:
    step = {"event": "step", "epoch": 0, "step": 5, "lr": 1e-3, "gradient_norm": 2.0, "train": {"loss": 3.0}}
    (tmp_path / "history.jsonl").write_text(json.dumps(step) + '\n{"event": "ste')
    assert read_history(tmp_path) == [step]
    assert main([str(tmp_path), "--out", str(tmp_path / "x.svg")]) == 0
    assert "gradient norm" in (tmp_path / "x.svg").read_text(encoding="utf-8")


def test_names_keep_what_tells_runs_apart(tmp_path: Path) -> None:
    runs = [tmp_path / fold / "runs" / seed / "version_0" for fold in ("a", "b") for seed in ("1", "2")]
    assert list(named([*runs, runs[0]])) == ["a/1/version_0", "a/2/version_0", "b/1/version_0", "b/2/version_0"]


def test_panels_can_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = write_run(tmp_path / "run")
    names = ["loss", "accuracy/$x"]
    assert choose(names, None) == ["loss", "learning rate", "gradient norm"]
    assert choose(names, ["accuracy/$x"]) == ["accuracy/$x"]
    assert main([str(run), "--only", "torsion", "--out", str(tmp_path / "x.png")]) == 2
    assert "did you mean 'torsion_loss'?" in capsys.readouterr().err
    figure = curves({"run": read_history(run)}, ["accuracy/$x$"])
    assert figure.axes[0].get_title() == r"accuracy/\$x\$"


def test_the_best_epoch_has_a_ring(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", epochs=2)
    records = [record | {"improved": record["epoch"] == 0} for record in read_history(run)]
    (axes,) = curves({"run": records}, ["torsion_loss"]).axes
    rings = [line for line in axes.get_lines() if line.get_fillstyle() == "none"]
    assert [line.get_xdata()[0] for line in rings] == [5]
