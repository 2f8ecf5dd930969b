"""Broken and hostile indexes and ligand files: one row is refused with its reason, the rest is made."""

import gzip
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rdkit import Chem
from structure_texts import dimer, write

from configs.errors import DataError, LigareError, StructureError
from data.drug_like import build_molecule
from data.index import rows_of_index
from data.ligand_files import ligand_from_file
from data.table import read_table
from scripts.main import main

HEADER = "pdb_id,pdb_path,chain1,chain2"
GOOD = f"{HEADER}\nx,x.pdb,A,B\n"


def index(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "index.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        (HEADER, "has no rows"),
        ("a,b\n1,2\n", "lacks the column 'pdb_id' .its columns: a, b"),
        (GOOD.replace(",", ";"), "lacks the column 'pdb_id' .separate values by commas, not by ';'"),
        (GOOD.replace(",", "\t"), "lacks the column 'pdb_id' .separate values by commas, not by "),
        ("pdb_id,pdb_id,pdb_path,chain1,chain2\n", "has the column 'pdb_id' twice"),
        ("pdb_id,pdb_id,pdb_path,chain1,chain2\nx,x,x,A,B\n", "has the column 'pdb_id' twice"),
        (GOOD + "y,y.pdb,A\n", "line 3: has 3 values for 4 columns"),
        (GOOD + "y,y.pdb,A,B,C\n", "line 3: has 5 values for 4 columns"),
        (GOOD + 'y,"y.pdb,A,B\n' * 3, "line .: has . values for 4 columns"),
        (GOOD + "y,y\0.pdb,A,B\n", "holds NUL characters"),
        (GOOD.encode("utf-16"), "is not UTF-8 text .save it as UTF-8"),
        (GOOD.encode() + b"\xff,x,A,B\n", "is not UTF-8 text"),
        (GOOD + "y," + "x" * 2**21 + ",A,B\n", "line 3: is not CSV|line 2: is not CSV"),
        (gzip.compress(GOOD.encode(), mtime=0)[:20], "is damaged gzip data"),
        (",".join(f"c{i}" for i in range(50_000)) + "\n" + "," * 49_999 + "1\n", r"lacks .*\.\.\. \(50000 in all\)"),
    ],
)
def test_a_broken_index_is_named_with_its_fault(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=rf"index\.csv(, |: )({message})"):
        rows_of_index(index(tmp_path, text))


def test_marks_quotes_blanks_and_line_ends_change_nothing(tmp_path: Path) -> None:
    plain = rows_of_index(index(tmp_path, GOOD))
    quoted = HEADER + '\n "x" , x.pdb ,"A","B"\n'
    for text in (GOOD.encode("utf-8-sig"), GOOD.replace("\n", "\r\n"), gzip.compress(GOOD.encode()), quoted + "\n\n"):
        rows = rows_of_index(index(tmp_path, text))
        assert [(row.pdb_path, row.chain1, row.chain2) for row in rows] == [("x.pdb", "A", "B")]
    assert plain[0].pdb_id == "x"


def test_formulas_and_repeated_names_stay_text(tmp_path: Path) -> None:
    rows = rows_of_index(index(tmp_path, GOOD + "\"=cmd|'/c calc'!A0\",x.pdb,A,B\nx,x.pdb,A,B\n"))
    assert [row.pdb_id for row in rows] == ["x", "=cmd|'/c calc'!A0", "x_2"]


@pytest.mark.parametrize("reader", [rows_of_index, read_table, ligand_from_file], ids=lambda reader: reader.__name__)
def test_pipes_and_devices_do_not_stop_a_reader(tmp_path: Path, reader: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(LigareError, match=r"is no regular file|is a folder"):
            reader(path)


def test_rows_that_leave_the_root_are_refused_and_the_rest_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGARE_ALLOW_OUTSIDE_ROOT", "0")  # undone after the test
    root = tmp_path / "root"
    root.mkdir()
    write(root / "x.pdb", dimer())
    write(tmp_path / "outside.pdb", dimer())
    (root / "link.pdb").symlink_to(tmp_path / "outside.pdb")
    names = ["x.pdb", "../outside.pdb", str(tmp_path / "outside.pdb"), "link.pdb", "/etc/passwd", "x.pdb/x", "."]
    table = index(root, HEADER + "\n" + "".join(f"r{i},{name},A,B\n" for i, name in enumerate(names)))
    call = ["process", "--data_index_file", str(table), "--out_path"]
    assert main([*call, str(tmp_path / "out")]) == 0
    failures = (tmp_path / "out" / "failures.csv").read_text()
    assert failures.count("lies outside the root folder") == 4
    assert failures.count("\n") == len(names)
    assert main([*call, str(tmp_path / "all"), "--allow_outside_root"]) == 0
    assert (tmp_path / "all" / "failures.csv").read_text().count("\n") == len(names) - 3


def test_a_limit_given_to_the_command_reaches_its_processes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGARE_MAX_ATOMS", "1G")  # undone after the test
    write(tmp_path / "x.pdb", dimer())
    call = ["process", "--structures", str(tmp_path / "x.pdb"), "--out_path", str(tmp_path / "out")]
    assert main([*call, "--max_atoms", "20", "--n_jobs", "2"]) == 2
    assert "holds 91 atoms, more than the limit of 20 (if that is right, raise --max_atoms" in capsys.readouterr().err


MOLECULE = build_molecule("CC(=O)Nc1ccccc1", 3)
SDF = Chem.MolToMolBlock(MOLECULE)
V3000 = Chem.MolToV3KMolBlock(MOLECULE)


def sdf(tmp_path: Path, text: str | bytes) -> Chem.Mol:
    (tmp_path / "x.sdf").write_bytes(text if isinstance(text, bytes) else text.encode())
    return ligand_from_file(tmp_path / "x.sdf")


def changed(line: int, first: int, text: str) -> str:
    lines = SDF.split("\n")
    lines[line] = lines[line][:first] + text + lines[line][first + len(text) :]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        SDF,
        V3000,
        re.sub(r"(M  V30 \d+ C \S+ )", r"\1-\nM  V30 ", V3000),  # lines that go on
        SDF + "$$$$\n" + SDF,
        SDF.replace("\n", "\r\n"),
        SDF.replace("\n", "\r"),
        gzip.compress(SDF.encode(), mtime=0),
    ],
    ids=["v2000", "v3000", "v3000 that goes on", "several", "crlf", "cr", "gzip"],
)
def test_every_kind_of_sdf_gives_the_same_molecule(tmp_path: Path, text: str | bytes) -> None:
    assert Chem.MolToSmiles(sdf(tmp_path, text)) == "CC(=O)Nc1ccccc1"


@pytest.mark.parametrize("number", ["1.2.3", "1 2", "-", "nan", "inf", "abc", "", "1,5", "********", "0x10"])
@pytest.mark.parametrize("first", [0, 10, 20])
def test_a_coordinate_that_is_no_number_is_named(tmp_path: Path, number: str, first: int) -> None:
    with pytest.raises(StructureError, match=r"x\.sdf, line 5: has the coordinate .* which is no number"):
        sdf(tmp_path, changed(4, first, number.rjust(10)))
    with pytest.raises(StructureError, match=r"x\.sdf(, line \d+: has the coordinate|: record 0 is not)"):
        sdf(tmp_path, V3000.replace(V3000.split("M  V30 1 C ")[1].split()[0], number, 1))


@pytest.mark.parametrize("symbol", ["Qq ", "12 ", "?  "])
def test_an_unknown_element_is_named_and_a_misspelled_one_is_read(tmp_path: Path, symbol: str) -> None:
    with pytest.raises(StructureError, match=r"x\.sdf, line 5: has the unknown element"):
        sdf(tmp_path, changed(4, 31, symbol))
    assert sdf(tmp_path, changed(4, 31, "c  ")).GetNumAtoms() == 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has 0 molecules"),
        ("x\n\n\n", "is not a readable SDF"),
        (changed(3, 0, "999999"), "is not a readable SDF"),
        (changed(3, 0, " -1 -1"), "is not a readable SDF"),
        (changed(3, 0, "  0  0"), "is not a readable SDF|has no atoms"),
        (changed(4, 0, "99999.0000"), "is absurdly far away"),
        (changed(5, 0, SDF.split("\n")[4][:30]), "atoms 1 and 2 are at the same place"),
        (SDF.replace("C  ", "H  ").replace("N  ", "H  ").replace("O  ", "H  "), "has no heavy atoms"),
        ("@<TRIPOS>MOLECULE\n", "is not a readable MOL2"),
        ("@<TRIPOS>MOLECULE\nx\n1 0\n@<TRIPOS>ATOM\n1 C nan 0 0 C.3\n", "line 5: has the coordinate 'nan'"),
        ("@<TRIPOS>MOLECULE\nx\n1 0\n@<TRIPOS>ATOM\n1 C 1e300 0 0 Weird.3\n", "is absurdly far away"),
        (b"\x1f\x8b\x08", "is damaged gzip data"),
        (b"\0\1\2", "is binary"),
    ],
)
def test_broken_ligand_files_are_named_with_their_fault(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(StructureError, match=rf"x\.sdf.*({message})"):
        sdf(tmp_path, text)


PIECES = st.sampled_from(["", " ", "\n", "-", "9", "nan", "$$$$", "M  END", "V3000", "C", "é", "\t", ",", '"', "\0"])


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(["sdf", "csv"]))
def test_text_with_pieces_replaced_gives_a_typed_error_or_a_sound_result(
    tmp_path: Path, data: st.DataObject, kind: str
) -> None:
    text = SDF if kind == "sdf" else GOOD * 3
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        text = text[:start] + data.draw(PIECES) + text[start + data.draw(st.integers(0, 8)) :]
    path = tmp_path / f"x.{kind}"
    path.write_bytes(text.encode())
    try:
        found = ligand_from_file(path) if kind == "sdf" else rows_of_index(path)
    except LigareError as error:
        told = str(error)
    else:
        told = f"x.{kind}"
        if isinstance(found, Chem.Mol):
            X = found.GetConformer().GetPositions()
            assert len(X) and np.isfinite(X).all() and np.abs(X).max() < 1e4
        else:
            assert len({row.pdb_id for row in found}) == len(found) >= 1
    assert f"x.{kind}" in told
