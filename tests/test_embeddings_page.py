"""docs/embeddings.md tells the truth: its commands and examples run on the structures they name, with those results."""

import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from models.guidance import USES
from scripts.main import main

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("INTERFACE_DATA", ROOT.parent / "shared" / "data"))
PAGE = (ROOT / "docs" / "embeddings.md").read_text(encoding="utf-8")
FILES = ("ppi_affinity/pdb/1tm3", "ppi_affinity/pdb/1tm4", "ppi_affinity/pdb/1brs")
FILES += ("pretrain/structures/11as", "pretrain/structures/102d", "pretrain/structures/109d")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"INTERFACE_DATA: no folder {DATA}")
def test_every_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    (tmp_path / "checkpoints").symlink_to(ROOT / "checkpoints")
    (tmp_path / "structures").mkdir()
    for name in FILES:
        shutil.copy(DATA / f"{name}.pdb.gz", tmp_path / "structures")
    (tmp_path / "index.csv").write_text(blocks("csv")[0])
    monkeypatch.chdir(tmp_path)
    for text in blocks("bash"):
        for line in text.splitlines():
            program, *words = shlex.split(line)
            assert program == "ligare"
            if "runs/" not in line:
                assert main([*words, "--device", "cpu"]) == 0, line
    found: dict[str, Any] = {}
    for code in blocks("python"):
        exec(code, found)
    assert len(found["frame"])
    assert found["matrix"].shape == (12, 16)
    assert not found["failed"]
    printed = pd.DataFrame([line.split() for line in blocks("text")[0].splitlines()[1:]]).set_index(0).astype(float)
    assert list(printed.index) == list(found["similarity"].index)
    np.testing.assert_allclose(found["similarity"].to_numpy(), printed.to_numpy(), atol=0.011)


def test_the_page_gives_the_advice_of_the_command() -> None:
    for name, use in USES.items():
        (row,) = re.findall(rf"^\| `{name}` \|.*\| (.*) \|$", PAGE, re.M)
        assert row.replace("`", "") in (use, use.removesuffix(" (docs/explain.md)"))
