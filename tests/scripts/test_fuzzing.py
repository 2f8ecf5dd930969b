"""The program that damages files finds what it is made to find, and nothing in the readers; `make soak` runs longer."""

import faulthandler
import os
import time
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from data.drug_like import build_molecule
from scripts.fuzzing import workers
from scripts.fuzzing.fuzz import main
from scripts.fuzzing.mutate import MUTATIONS, mutate

PDB = """\
ATOM      1  N   SER A   1       0.000   0.000   0.000  1.00  0.00           N
ATOM      2  CA  SER A   1       1.200   0.800   0.000  1.00  0.00           C
ATOM      3  C   SER A   1       2.400   0.000   0.000  1.00  0.00           C
ATOM      4  N   SER B   1       0.000   4.000   0.000  1.00  0.00           N
ATOM      5  CA  SER B   1       1.200   4.800   0.000  1.00  0.00           C
END
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "x.pdb").write_text(PDB)
    (folder / "x.sdf").write_text(Chem.MolToMolBlock(build_molecule("CC(=O)O", 1)))
    (folder / "x.csv").write_text("pdb_id,pdb_path,chain1,chain2\nx,x.pdb,A,B\n")
    return folder


def test_every_mutation_takes_any_content_and_repeats_itself() -> None:
    for content in (b"", b"\n", b"x", PDB.encode()):
        for mutation in MUTATIONS:
            for seed in range(5):
                first, second = (mutation(content, PDB.encode(), np.random.default_rng(seed)) for _ in range(2))
                assert first == second
    rng = np.random.default_rng(0)
    assert len({mutate(PDB.encode(), PDB.encode(), rng) for _ in range(50)}) > 40


def test_the_readers_stand_a_short_run(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(files), "--count", "300", "--out", str(files / "found")]) == 0
    said = capsys.readouterr().out
    assert "300 damaged files" in said and "0 findings" in said
    assert {line.split()[0] for line in said.splitlines() if line.startswith("  ")} == {"pdb", "sdf", "csv"}


def crash() -> None:
    faulthandler.disable()  # the crash is meant: no trace among the results
    os.abort()


FAULTS = {"crash": crash, "hang": lambda: time.sleep(60), "unforeseen": lambda: [][0]}


@pytest.mark.parametrize("kind", FAULTS)
def test_crashes_hangs_and_unforeseen_errors_are_found_and_kept(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    def read(path: Path, format: str, content: bytes) -> list[str]:
        return FAULTS[kind]() if path.name.startswith("1-") else []

    monkeypatch.setattr(workers, "_read", read)
    out = files / "found"
    assert main([str(files), "--count", "4", "--seconds_per_file", "2", "--out", str(out)]) == 1
    said = capsys.readouterr().out
    assert f": {kind}: " in said and "1 findings" in said and "4 damaged files" in said
    assert len(list(out.glob("1-*"))) == 1
