"""Broken and unusual structure files: a typed error that names file and cause, or the right atoms; nothing between."""

import gzip
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structure_texts import BACKBONE, LYS, SER, atom, chain_of, dimer, mmcif, residue, write

from configs.errors import InterfaceError, LigareError, StructureError
from data.item import Item
from data.prepare import items_of_file
from data.structure import Structure, read_structure

LINES = residue("SER", 1, SER)
ROW = "ATOM {i} C {name} {alt} {res} {chain} 1 1 {icode} {x} {i}.0 0 {occ} {number} {chain} {model}"
PLAIN = {
    "name": "CA",
    "alt": ".",
    "res": "SER",
    "chain": "A",
    "icode": "?",
    "x": "1.0",
    "occ": "1.0",
    "number": "1",
    "model": "1",
}


def read(tmp_path: Path, text: str | bytes, name: str = "x.pdb", **options: int) -> Structure:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_structure(tmp_path / name, **options)


def with_columns(first: int, text: str, line: int = 0) -> str:
    """The serine with other characters in one line, from a column on (counted from 0)."""
    lines = list(LINES)
    lines[line] = lines[line][:first] + text + lines[line][first + len(text) :]
    return "\n".join(lines)


def rows(n: int = 2, **changes: str) -> str:
    return mmcif([ROW.format(**PLAIN | changes, i=i) for i in range(1, n + 1)])


WRONG_NUMBERS = ["1.2.3", "1 2.5", "--1.0", "1.0-2", ".", "-", "1,000", "1.0E2", "11", "nan", "inf", "********", ""]


@pytest.mark.parametrize("number", WRONG_NUMBERS)
@pytest.mark.parametrize("column", [30, 38, 46])
def test_a_field_that_is_no_coordinate_is_named_with_its_line(tmp_path: Path, number: str, column: int) -> None:
    with pytest.raises(StructureError, match=r"x\.pdb, line 3: atom 'C   SER A   1' (has a coord|lacks a coord)"):
        read(tmp_path, with_columns(column, number.rjust(8), line=2))


@pytest.mark.parametrize("column", [6, 12, 17, 22, 26, 27, 30, 38])
@pytest.mark.parametrize("by", [-8, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 8])
def test_shifted_columns_give_no_other_coordinates(tmp_path: Path, column: int, by: int) -> None:
    lines = [line[:column] + (" " * by + line[column:] if by > 0 else line[column - by :]) for line in LINES]
    expected = {tuple(x) for x in np.round(list(SER.values()), 3).tolist()}
    (tmp_path / "x.pdb").write_text("\n".join(lines))
    with suppress(StructureError):
        assert {tuple(x) for x in read_structure(tmp_path / "x.pdb").X.tolist()} <= expected


@pytest.mark.parametrize("text", ["****", "a000", "12A4", "1 2 ", "10-1", "  1.", "    "])
def test_what_is_no_residue_number_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(StructureError, match=r"line 1: atom .* has no valid residue number"):
        read(tmp_path, with_columns(22, text))


def test_numbers_of_many_residues_are_read_in_hybrid_36_and_with_a_fifth_digit(tmp_path: Path) -> None:
    assert read(tmp_path, with_columns(22, "A000")).resid[0] == 10_000
    assert read(tmp_path, with_columns(22, "ZZZZ")).resid[0] == 1_223_055
    five = read(tmp_path, with_columns(22, "12345"))
    assert (five.resid[0], five.icode[0]) == (12_345, "")
    water = atom("O", "HOH", number=2, hetero=True)
    assert read(tmp_path, "\n".join([*LINES, water[:22] + "****" + water[26:]])).n_residues == 1


def test_serial_numbers_may_be_anything(tmp_path: Path) -> None:
    for serial in ("*****", "A0000", "    0", "     ", "zzzzz"):
        assert read(tmp_path, with_columns(6, serial)).n_residues == 1
    assert read(tmp_path, "\n".join("ATOM 100000" + line[11:] for line in LINES)).n_residues == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: "\ufeff" + text,
        lambda text: text.encode("utf-16"),
        lambda text: text + "\n" + "\0" * 512,
        lambda text: gzip.compress(text.encode()),
        lambda text: text + "\n# \u00e9\n",
        lambda text: text.encode() + b"\n# \xe9\n",
    ],
    ids=["crlf", "cr", "mark", "utf-16", "padding", "gzip", "accents", "latin-1"],
)
def test_line_ends_and_encodings_of_other_systems(tmp_path: Path, change: Callable[[str], str | bytes]) -> None:
    for name, text in (("x.pdb", "\n".join(LINES)), ("x.cif", rows(3, name="CB"))):
        found = read(tmp_path, change(text), name)
        assert len(found.X) == len(read(tmp_path, text, name).X)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"hello", "is neither PDB nor mmCIF"),
        (b"<html><body>404</body></html>", "is neither PDB nor mmCIF"),
        (b'{"atoms": []}', "is neither PDB nor mmCIF"),
        (b"HEADER    X\nEND\n", "holds no atoms"),
        (b"ATOM      1  N   A\0A A   1       0.000   0.000   0.000", "is binary"),
        (b"data_x\n", "holds no table of atoms"),
        (b"data_x\nloop_\n_atom_site.Cartn_x\n_atom_site.Cartn_x\n1 2\n", "is not valid mmCIF"),
        (b"data_x\n_a 'unterminated\n", "is not valid mmCIF"),
        (b"data_x\n_a\n;text without an end\n", "is not valid mmCIF"),
        (b"data_x\n" + b"save_x " * 10_000, "is not valid mmCIF"),
        (b"data_x\nloop_\n" + b"loop_ " * 10_000, "is not valid mmCIF"),
        (b"data_x\n_a " + b"x" * 3_000_000 + b"\n", "holds no table of atoms"),
        (gzip.compress(gzip.compress(b"data_x\n", mtime=0), mtime=0), "is gzip data inside gzip data"),
        (b"\x1f\x8b", "is damaged gzip data"),
    ],
)
def test_what_holds_no_structure_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(StructureError, match=f"x.pdb: {message}"):
        read(tmp_path, content)


@pytest.mark.parametrize("number", ["?", ".", "nan", "inf", "-inf", "1.2.3", "abc", "1e8", "1e400", "0x10", "99999"])
def test_coordinates_of_mmcif_are_numbers_within_reason(tmp_path: Path, number: str) -> None:
    with pytest.raises(StructureError, match=r"x\.cif, chain A residue 1 SER: atom CA (has a coordinate|is absurdly)"):
        read(tmp_path, rows(x=number), "x.cif")


def test_names_of_any_length_in_mmcif_keep_chains_and_residues_apart(tmp_path: Path) -> None:
    for chain in ("AAA", "A-2", "ABCDEFGH", "a-very-long-name-of-a-chain-12"):
        found = read(tmp_path, rows(chain=chain, res="A1AB9"), "x.cif")
        assert (found.chains(), found.resname.tolist()) == ([chain], ["A1AB9"])
    lines = [ROW.format(**PLAIN | {"chain": f"COMPLEX_CHAIN_{i}", "res": f"LONG_RESIDUE_{i}"}, i=i) for i in (1, 2)]
    found = read(tmp_path, mmcif(lines), "x.cif")
    assert found.chains() == ["COMPLEX_CHAIN_1", "COMPLEX_CHAIN_2"]
    assert found.resname.tolist() == ["LONG_RESIDUE_1", "LONG_RESIDUE_2"]
    with pytest.raises(StructureError, match=r"x\.cif: has names that are too long"):
        read(tmp_path, rows(name="A_VERY_LONG_ATOM"), "x.cif")


@pytest.mark.parametrize("name", ["number", "model"])
def test_numbers_too_large_for_a_residue_or_model_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StructureError, match=r"x\.cif: has the .* '99999999999'"):
        read(tmp_path, rows(**{name: "99999999999"}), "x.cif")


def test_mmcif_without_author_columns_uses_the_others(tmp_path: Path) -> None:
    text = rows(2, number="7", model="1", chain="B")
    lines = [line for line in text.split("\n") if "auth_" not in line and "model_num" not in line]
    bare = "\n".join(line.rsplit(" ", 3)[0] if line.startswith("ATOM") else line for line in lines)
    found = read(tmp_path, bare, "x.cif")
    assert (found.chains(), found.resid.tolist()) == (["B"], [1])


def test_mmcif_without_the_other_columns_uses_the_authors(tmp_path: Path) -> None:
    text = rows(2, number="7", chain="B")
    lines = [line for line in text.split("\n") if "label_asym_id" not in line]
    without = [" ".join(w for i, w in enumerate(l.split()) if i != 6) if l.startswith("ATOM") else l for l in lines]
    found = read(tmp_path, "\n".join(without), "x.cif")
    assert (found.chains(), found.resid.tolist()) == (["B"], [7])
    for column in ("label_asym_id", "Cartn_z"):
        lacking = text.replace(f"_atom_site.{column}\n", f"_atom_site.no_{column}\n").replace("auth_asym_id", "no_id")
        with pytest.raises(StructureError, match=r"has no names of chains|no table of atoms .* with their places"):
            read(tmp_path, lacking, "x.cif")


@pytest.mark.parametrize("name", ["id", "type_symbol", "label_alt_id", "occupancy", "pdbx_PDB_model_num", "group_PDB"])
def test_mmcif_without_a_column_that_atoms_can_do_without_is_read(tmp_path: Path, name: str) -> None:
    whole = read(tmp_path, rows(4))
    head, _, table = rows(4).partition("loop_\n")
    lines = table.splitlines()
    names = [line for line in lines if line.startswith("_atom_site.")]
    left = names.index(f"_atom_site.{name}")
    cut = [" ".join(w for i, w in enumerate(line.split()) if i != left) for line in lines[len(names) :]]
    text = "\n".join([head + "loop_", *(one for one in names if not one.endswith(f".{name}")), *cut, ""])
    found = read(tmp_path, text)
    assert found.element.tolist() == whole.element.tolist() and (found.X == whole.X).all()


@pytest.mark.parametrize("end", ["\v", "\f", "\x85", "", " "], ids=repr)
def test_atoms_without_ends_of_lines_are_refused(tmp_path: Path, end: str) -> None:
    """All but the first of them would get lost."""
    with pytest.raises(StructureError, match=r"line 1: .* shares its line with another"):
        read(tmp_path, end.join(dimer()))


def test_further_blocks_of_mmcif_are_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = rows(1, chain="B").replace("data_test", "data_other")
    assert read(tmp_path, rows(1) + "data_empty\n_a 1\n" + other, "x.cif").chains() == ["A"]
    assert "x.cif: 1 more blocks of data with atoms are left out" in caplog.text


def test_segments_name_chains_where_no_atom_has_one(tmp_path: Path) -> None:
    one, two = residue("SER", 1, SER, " "), residue("SER", 1, SER, " ", shift=(20, 0, 0))
    lines = [line[:72] + name + line[76:] for name, part in (("PROA", one), ("PROB", two)) for line in part]
    found = read(tmp_path, "\n".join(lines))
    assert (found.chains(), len(found.X)) == (["PROA", "PROB"], 12)
    old = [line[:72] + "1ABC" + line[76:] for line in one]  # the entry's name, in files of before 1996
    assert read(tmp_path, "\n".join(old)).chains() == [""]


def test_names_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    lines = residue("SER", 1, SER, " ")
    segments = [line[:72].encode() + b"\xc8\xff  " + line[76:].encode() for line in lines]
    modres = b"MODRES 1ABC \xc8YZ A    1  \xffER  X"
    assert read(tmp_path, b"\n".join([modres, *segments])).chains() == [""]
    with pytest.raises(StructureError, match=r"x\.pdb, line 1: atom .* is no plain text"):
        read(tmp_path, with_columns(17, "S\xc8R"))


def test_a_second_molecule_of_the_same_name_is_refused_and_a_repeated_one_is_dropped(tmp_path: Path) -> None:
    again = chain_of("SER", 3, "A", SER, shift=(0, 12, 0))
    with pytest.raises(StructureError, match=r"x\.pdb, chain A residue 1 SER: is there twice, 12.0 Å apart"):
        read(tmp_path, "\n".join([*chain_of("SER", 3, "A", SER), "TER", *again]))
    with pytest.raises(StructureError, match="is there twice"):
        read(tmp_path, "\n".join([*LINES, *residue("SER", 1, SER, shift=(3.8, 0, 0))]))
    assert len(read(tmp_path, "\n".join([*dimer(), *dimer()])).X) == len(read(tmp_path, "\n".join(dimer())).X)


@pytest.mark.parametrize("letters", ["  ", "A ", " A", "AB"])
def test_two_residues_of_one_number_that_overlap_leave_the_likelier(tmp_path: Path, letters: str) -> None:
    lines = residue("SER", 1, SER, altloc=letters[0].strip(), occupancy=0.3)
    lines += residue("ALA", 1, BACKBONE, shift=(0.1, 0, 0), altloc=letters[1].strip(), occupancy=0.7)
    assert read(tmp_path, "\n".join(lines)).resname.tolist() == ["ALA"]


@pytest.mark.parametrize("occupancy", [-1.0, 0.0, 2.5, 99.0])
def test_any_occupancy_is_taken(tmp_path: Path, occupancy: float) -> None:
    assert len(read(tmp_path, "\n".join(residue("SER", 1, SER, occupancy=occupancy))).X) == 6
    assert len(read(tmp_path, rows(occ="nan", alt="A"), "x.cif").X) == 1


def test_places_that_no_atoms_can_have_are_refused(tmp_path: Path) -> None:
    zeros = [atom(name, xyz=(0, 0, 0)) for name in SER]
    with pytest.raises(StructureError, match="is at the place of atom"):
        read(tmp_path, "\n".join(zeros))
    apart = [atom("CA", number=number, xyz=(0, 0, 0)) for number in (1, 2)]
    with pytest.raises(StructureError, match="is at the place of atom"):
        read(tmp_path, "\n".join(apart))
    rng = np.random.default_rng(0)
    crowd = [atom("CA", number=i, xyz=tuple(x)) for i, x in enumerate(rng.uniform(0, 1.0, (300, 3)))]
    with pytest.raises(StructureError, match=r"\d+ atoms lie within 2 Å of each other"):
        read(tmp_path, "\n".join(crowd))


@pytest.mark.parametrize("lines", [[atom("O", "HOH", hetero=True)], [atom("H")], [atom("D", element="D")]])
def test_water_and_hydrogens_alone_are_no_structure(tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(StructureError, match="holds no heavy atoms beside water"):
        read(tmp_path, "\n".join(lines))


@pytest.mark.parametrize(
    ("name", "resname", "element", "number"),
    [
        (" CA ", "XYZ", "", 6),  # an alpha carbon of a residue of one atom
        ("CA  ", "CA ", "", 20),
        ("CAL ", "CAL", "", 20),
        ("SOD ", "SOD", "", 11),
        ("CLA ", "CLA", "", 17),
        ("Q1  ", "UNK", "X", 0),
        ("C1  ", "LIG", "12", 6),  # digits in the place of the element, as in files of before 1996
        ("ZN  ", "ZN ", "zn", 30),
    ],
)
def test_elements_are_told_or_left_open(tmp_path: Path, name: str, resname: str, element: str, number: int) -> None:
    line = atom("C", resname, hetero=True)
    line = line[:12] + name + line[16:76] + element.rjust(2) + line[78:]
    assert read(tmp_path, line).element.tolist() == [number]


def test_ensembles_give_the_model_that_is_asked_for(tmp_path: Path) -> None:
    text = mmcif([ROW.format(**PLAIN | {"model": str(m), "x": f"{m}0.0"}, i=1) for m in (1, 2, 5)])
    assert [read(tmp_path, text, "x.cif", model=m).X[0, 0] for m in (0, 1, 2)] == [10, 20, 50]
    with pytest.raises(StructureError, match="has no model 3, only 3"):
        read(tmp_path, text, "x.cif", model=3)


def test_giant_assemblies_are_read_and_the_limit_of_atoms_is_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = range(28)
    places = ((i, j, k) for i in side for j in side for k in side)
    text = mmcif(
        f"ATOM {n} C CA . ALA {chr(65 + i)}-{j} 1 {k + 1} ? {9 * i} {9 * j} {4 * k} 1 {k + 1} {chr(65 + i)}-{j} 1"
        for n, (i, j, k) in enumerate(places)
    )
    found = read(tmp_path, text, "x.cif")
    assert (found.n_residues, len(found.chains())) == (28**3, 28**2)
    monkeypatch.setenv("LIGARE_MAX_ATOMS", "20000")
    with pytest.raises(StructureError, match=r"x\.cif: holds 21952 atoms.*--max_atoms"):
        read(tmp_path, text, "x.cif")


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pdb")
    for path in (tmp_path, tmp_path / "pipe.pdb", Path("/dev/zero"), tmp_path / "é\u202e\n.pdb"):
        with pytest.raises(StructureError):
            read_structure(path)
    write(tmp_path / "Ünïcode .pdb", LINES)
    assert read_structure(tmp_path / "Ünïcode .pdb").n_residues == 1


CHAINS = [*chain_of("SER", 6, "A", SER), *chain_of("LYS", 6, "B", LYS, shift=(0, 7.0, 0))]
PIECES = st.sampled_from(
    ["", " ", "\n", "END", "TER", "ATOM", "MODEL", "-", "9" * 9, "nan", "A", "\t", "é", "loop_", "'"]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(["pdb", "cif"]))
def test_text_with_pieces_replaced_gives_a_typed_error_or_known_coordinates(
    tmp_path: Path, data: st.DataObject, kind: str
) -> None:
    text = "\n".join(CHAINS) if kind == "pdb" else rows(6)
    known = {round(x, 3) for place in np.asarray([*map(_place, CHAINS)]) for x in place} | {float(i) for i in range(99)}
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        text = text[:start] + data.draw(PIECES) + text[start + data.draw(st.integers(0, 12)) :]
    path = tmp_path / f"x.{kind}"
    path.write_bytes(text.encode())
    try:
        items = items_of_file(path)
    except LigareError as error:
        refused = str(error)
    else:
        refused = f"x.{kind}"
        check_items(items, known if kind == "pdb" and "9" not in text else None)
    assert f"x.{kind}" in refused


def check_items(items: list[Item], known: set[float] | None) -> None:
    for item in items:
        assert set(item.segment_ids.tolist()) == {0, 1}
        assert np.isfinite(item.X).all()
        assert all(len(str(round(float(x), 3))) < 9 for x in item.X.ravel())
        if known is not None:
            assert {round(float(x), 3) for x in item.X.ravel()} <= known


def _place(line: str) -> tuple[float, ...]:
    return tuple(float(line[i : i + 8]) for i in (30, 38, 46))


def test_partners_that_lie_on_top_of_each_other_make_no_interface(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pdb", [*chain_of("SER", 6, "A", SER), *chain_of("SER", 6, "B", SER, shift=(0.2, 0, 0))])
    with pytest.raises(InterfaceError, match=r"x\.pdb: chain A and chain B lie on top of each other: 36 of 36 atoms"):
        items_of_file(path)
