"""ligare planted: a table of both models, from data to scores, that continues."""

from pathlib import Path

import pandas as pd
import pytest

from configs.files import read_json
from scripts import planted


def test_both_models_are_scored_on_both_terms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--out", str(tmp_path / "out"), "-n", "40", "--epochs", "1", "--resamples", "5"]
    assert planted.main(given) == 0
    first = capsys.readouterr().out
    assert "| composition | " in first
    assert "| geometric | " in first
    terms = pd.read_csv(tmp_path / "out" / "terms.csv")
    assert len(terms) == 40
    rows = read_json(tmp_path / "out" / "geometric" / "finished.json")
    assert rows["folder"] == "version_0"
    assert planted.main(given) == 0
    assert capsys.readouterr().out == first


def test_too_few_complexes_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert planted.main(["--out", str(tmp_path / "out"), "-n", "3"]) == 2
    assert "n_items" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
