"""Reading structures: every rule on a file of a few lines."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from structure_texts import BACKBONE, SER, atom, chain_of, dimer, mmcif, residue, write

from configs.errors import StructureError
from data.discover import discover
from data.residues import AMINO, DNA, OTHER, RNA, meaning_of
from data.structure import Structure, read_structure


def read(tmp_path: Path, lines: list[str], **options: int) -> Structure:
    return read_structure(write(tmp_path / "x.pdb", lines), **options)


def names(structure: Structure, number: int = 0) -> list[str]:
    first, last = structure.starts[number : number + 2]
    return [name.decode() for name in structure.name[first:last]]


def test_atoms_and_residues_are_those_of_the_file(tmp_path: Path) -> None:
    found = read(tmp_path, dimer())
    assert found.chains() == ["A", "B"]
    assert found.resname.tolist() == ["SER"] * 6 + ["ZN"] + ["LYS"] * 6
    assert names(found) == list(SER)
    np.testing.assert_allclose(found.X[:6], list(SER.values()), atol=1e-3)
    assert found.polymer.tolist() == [True] * 6 + [False] + [True] * 6


def test_gzip_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    text = "\n".join(dimer())
    (tmp_path / "a.pdb").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "b.pdb.gz").write_text(text)
    assert read_structure(tmp_path / "a.pdb").n_residues == read_structure(tmp_path / "b.pdb.gz").n_residues == 13


def test_the_altloc_with_the_highest_occupancy_is_kept_for_the_whole_residue(tmp_path: Path) -> None:
    lines = residue("SER", 1, BACKBONE)
    lines += [
        atom("CB", "SER", xyz=(1, 2, 1), altloc="A", occupancy=0.4),
        atom("OG", "SER", xyz=(1, 3, 1), altloc="A", occupancy=0.4),
    ]
    lines += [
        atom("CB", "SER", xyz=(9, 2, 1), altloc="B", occupancy=0.6),
        atom("OG", "SER", xyz=(9, 3, 1), altloc="B", occupancy=0.6),
    ]
    found = read(tmp_path, lines)
    assert names(found) == ["N", "CA", "C", "O", "CB", "OG"]
    assert found.X[4:, 0].tolist() == [9.0, 9.0]


def test_alternative_residues_at_one_site_leave_one(tmp_path: Path) -> None:
    lines = residue("SER", 1, SER, altloc="A", occupancy=0.3) + residue("ALA", 1, BACKBONE, altloc="B", occupancy=0.7)
    assert read(tmp_path, lines).resname.tolist() == ["ALA"]


def test_insertion_codes_and_negative_numbers_tell_residues_apart(tmp_path: Path) -> None:
    lines = residue("ALA", -3, BACKBONE) + residue("ALA", 52, BACKBONE, shift=(9, 0, 0))
    lines += residue("ALA", 52, BACKBONE, shift=(18, 0, 0), icode="A")
    found = read(tmp_path, lines)
    assert [*zip(found.resid.tolist(), found.icode.tolist())] == [(-3, ""), (52, ""), (52, "A")]


def test_one_model_is_read_for_all_chains(tmp_path: Path) -> None:
    def model(number: int, x: float) -> list[str]:
        chains = residue("ALA", 1, BACKBONE, "A", (x, 0, 0)) + residue("ALA", 1, BACKBONE, "B", (x, 5, 0))
        return [f"MODEL     {number:>4}", *chains, "ENDMDL"]

    lines = model(1, 0.0) + model(2, 50.0)
    assert read(tmp_path, lines).X[:, 0].max() < 10
    assert read(tmp_path, lines, model=1).X[:, 0].min() == 50.0
    with pytest.raises(StructureError, match=r"x.pdb: has no model 2, only 2"):
        read(tmp_path, lines, model=2)


def test_models_without_an_end_and_with_repeated_numbers_are_repaired(tmp_path: Path) -> None:
    chain = residue("ALA", 1, BACKBONE)
    assert read(tmp_path, ["MODEL        1", *chain, "MODEL        1", *chain], model=1).n_residues == 1


def test_waters_and_hydrogens_are_dropped(tmp_path: Path) -> None:
    lines = [*residue("SER", 1, SER), atom("HB2", "SER", xyz=(1, 1, 2)), atom("D", "SER", xyz=(0, 1, 0), element="D")]
    lines += [atom("O", "HOH", number=9, hetero=True), atom("O", "DOD", number=10, hetero=True)]
    found = read(tmp_path, lines)
    assert found.resname.tolist() == ["SER"]
    assert names(found) == list(SER)


def test_ca_is_carbon_in_proteins_and_calcium_as_an_ion(tmp_path: Path) -> None:
    lines = [line[:76] for line in residue("ALA", 1, BACKBONE)]  # without elements, and CA one column to the left
    lines = [line[:12] + "CA  " + line[16:] if " CA " in line else line for line in lines]
    lines += [
        atom("CA", "CA", "A", 2, (5, 5, 5), element="CA", hetero=True)[:76],
        atom("ZN", "ZN", "A", 3, (9, 5, 5), element="ZN", hetero=True)[:76],
    ]
    found = read(tmp_path, lines)
    assert found.element.tolist() == [7, 6, 6, 8, 20, 30]
    assert found.kind.tolist() == [AMINO, OTHER, OTHER]


def test_missing_elements_of_ligands_come_from_the_names(tmp_path: Path) -> None:
    lines = [
        atom(n, "LIG", xyz=(i, 0, 0), hetero=True, element=e)[:76]
        for i, (n, e) in enumerate([("C1", "C"), ("CL1", "CL"), ("N2", "N"), ("BR", "BR")])
    ]
    assert read(tmp_path, lines).element.tolist() == [6, 17, 7, 35]


@pytest.mark.parametrize(
    ("resname", "sugar", "kind", "standard"),
    [
        ("C", ["C2'", "O2'"], RNA, "RC"),  # cytidine, not carbon
        ("U", ["C2'", "O2'"], RNA, "RU"),
        ("A", ["C2*", "O2*"], RNA, "RA"),
        ("A", ["C2*"], DNA, "DA"),  # names before 2007
        ("T", ["C2'"], DNA, "DT"),
        ("DG", ["C2'"], DNA, "DG"),
        ("GUA", ["C2'"], DNA, "DG"),
        ("DA5", ["C2'"], DNA, "DA"),
        ("G", [], RNA, "RG"),
    ],
)
def test_nucleotides_are_told_from_elements_and_from_each_other(
    tmp_path: Path, resname: str, sugar: list[str], kind: int, standard: str
) -> None:
    lines = [atom(n, resname, xyz=(i, 0, 0)) for i, n in enumerate(["P", "C1'", *sugar])]
    found = read(tmp_path, lines)
    assert (found.kind[0], found.standard[0], found.polymer[0]) == (kind, standard, True)


def test_modified_residues_have_the_parent_that_the_file_names(tmp_path: Path) -> None:
    modres = "MODRES 1ABC XYZ A    1  SER  SOMETHING"
    assert read(tmp_path, [modres, *residue("XYZ", 1, SER, hetero=True)]).standard.tolist() == ["SER"]
    assert read(tmp_path, residue("XYZ", 1, SER, hetero=True)).standard.tolist() == [""]
    assert meaning_of("MSE").standard == "MET"
    assert meaning_of("SEP").standard == "SER"
    assert meaning_of("5MU").standard == "RU"
    assert meaning_of("STI").kind == OTHER


def test_mmcif_names_parents_too(tmp_path: Path) -> None:
    dictionary = "loop_\n_chem_comp.id\n_chem_comp.mon_nstd_parent_comp_id\nXYZ SER\nALA .\n"
    rows = [f"HETATM {i} C C{i} . XYZ A 1 1 ? {i}.0 0 0 1.0 7 Q 1" for i in range(3)]
    (tmp_path / "x.cif").write_text(mmcif(rows, dictionary))
    found = read_structure(tmp_path / "x.cif")
    assert (found.chains(), found.resid.tolist(), found.standard.tolist()) == (["Q"], [7], ["SER"])


def test_standard_residues_in_hetatm_records_are_polymer_only_when_bonded(tmp_path: Path) -> None:
    chain = chain_of("SER", 3, "A", SER)
    chain[6:12] = [line.replace("ATOM  ", "HETATM") for line in chain[6:12]]
    free = residue("TRP", 99, SER, "A", (40, 0, 0), hetero=True)
    assert read(tmp_path, chain + free).polymer.tolist() == [True, True, True, False]


def test_repeated_atoms_are_removed_but_ligands_may_repeat_names(tmp_path: Path) -> None:
    lines = [*residue("SER", 1, SER), atom("CB", "SER", xyz=(8, 8, 8))]
    lines += [atom("C", "UNK", number=5, xyz=(i * 1.5, 9, 9), hetero=True) for i in (0, 1, 2, 2)]
    found = read(tmp_path, lines)
    assert np.diff(found.starts).tolist() == [6, 3]


def test_text_in_the_charge_columns_is_repaired(tmp_path: Path) -> None:
    lines = [line[:78] + "AT" for line in residue("SER", 1, SER)]
    assert names(read(tmp_path, lines)) == list(SER)


def test_a_blank_chain_is_a_chain(tmp_path: Path) -> None:
    assert read(tmp_path, residue("SER", 1, SER, chain=" ")).chains() == [""]


def test_windows_line_ends_and_short_lines_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pdb", [line[:54] for line in residue("SER", 1, SER)], end="\r\n")
    assert names(read_structure(path)) == list(SER)


def test_a_biopython_structure_gives_what_its_file_gives(tmp_path: Path) -> None:
    from Bio.PDB import PDBParser

    path = write(tmp_path / "x.pdb", dimer())
    ours, theirs = read_structure(path), read_structure(PDBParser(QUIET=True).get_structure("x", path))
    assert ours.resname.tolist() == theirs.resname.tolist()
    np.testing.assert_allclose(ours.X, theirs.X, atol=1e-3)


BAD = {
    "nan": (
        lambda line: line[:38] + "     nan" + line[46:],
        r"x.pdb, line 2: atom 'CA  SER A   1' has a coordinate that is no number",
    ),
    "stars": (lambda line: line[:38] + "********" + line[46:], "has a coordinate that is no number"),
    "blank": (lambda line: line[:38] + " " * 8 + line[46:], "lacks a coordinate"),
    "cut": (lambda line: line[:45], "is cut off before its coordinates end"),
    "far": (lambda line: line[:38] + "9999.999" + line[46:], r"chain A residue 1 SER: atom CA is absurdly far away"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_coordinate_is_named(tmp_path: Path, fault: str) -> None:
    change, message = BAD[fault]
    lines = residue("SER", 1, SER)
    lines[1] = change(lines[1])
    with pytest.raises(StructureError, match=message):
        read(tmp_path, lines)


def test_a_missing_mmcif_coordinate_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.cif").write_text(mmcif(["ATOM 1 C CA . ALA A 1 1 ? 0 ? 0 1.0 7 A 1"]))
    with pytest.raises(
        StructureError, match=r"x.cif, chain A residue 7 ALA: atom CA has a coordinate that is no number"
    ):
        read_structure(tmp_path / "x.cif")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello\nworld\n", "is neither PDB nor mmCIF"),
        (b"HEADER    X\nEND\n", "holds no atoms"),
        (b"data_x\n_cell.length_a 1\n", "holds no table of atoms"),
        (mmcif(["ATOM 1 C CA . ALA A 1 1 ? 0 0"]).encode(), "is not valid mmCIF"),
        (b"\x83\x00\x01\x02", "is binary"),
        (gzip.compress(b"ATOM" * 1000, mtime=0)[:40], "is damaged gzip data"),
    ],
)
def test_files_that_hold_no_structure_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(StructureError, match=f"x: {message}"):
        read_structure(tmp_path / "x")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StructureError, match=r"none.pdb: no such file"):
        read_structure(tmp_path / "none.pdb")


BARE = {**BACKBONE, "CB": (1.2, 1.7, 1.2)}
TRACE = {"CA": BACKBONE["CA"]}


@pytest.mark.parametrize(
    ("lines", "amino"),
    [
        (chain_of("UNK", 4, "B", BARE, (0, 5.5, 0)), True),
        (chain_of("UNK", 4, "B", TRACE, (0, 5.5, 0)), True),  # alpha carbons are all that was seen
        ([line for i in range(3) for line in residue("UNK", i, BARE, "B", (6 * i, 5.5, 0))], True),  # with gaps
        (residue("UNK", 1, BARE, "B", (0, 5.5, 0), hetero=True), False),  # alanine as a ligand
        (residue("UNK", 1, TRACE, "B", (0, 5.5, 0)), False),
        (residue("UNK", 1, {"C": (0, 0, 0), "O": (1.2, 0, 0), "N": (0, 1.4, 0)}, "B", (0, 5.5, 0)), False),
    ],
    ids=["bonded", "trace", "gaps", "ligand", "alone", "elements for names"],
)
def test_unknown_residues_are_amino_acids_where_they_form_a_chain(
    tmp_path: Path, lines: list[str], amino: bool
) -> None:
    structure = read_structure(write(tmp_path / "x.pdb", [*chain_of("SER", 4, "A", SER), *lines]))
    unknown = structure.resname == "UNK"
    assert unknown.any()
    assert (structure.polymer[unknown] == amino).all()
    assert ((structure.kind[unknown] == AMINO) == amino).all()
    assert (structure.standard[unknown] == "").all()  # which amino acid it is, nobody knows


def test_a_chain_of_unknown_residues_is_a_partner_and_no_ligand(tmp_path: Path) -> None:
    lines = [*chain_of("SER", 6, "A", SER), *chain_of("UNK", 6, "B", BARE, (0, 5.5, 0))]
    (found,) = discover(read_structure(write(tmp_path / "x.pdb", lines)))
    assert (found.name, found.modality) == ("A_B", "PP")


FIRST, SECOND = chain_of("SER", 2, "A", SER), chain_of("SER", 2, "A", SER, (50, 0, 0))
MODELS = {
    "as written": (["MODEL        1", *FIRST, "ENDMDL", "MODEL        2", *SECOND, "ENDMDL"], 2),
    "lower case": (["model 1", *FIRST, "endmdl", "model 2", *SECOND, "endmdl"], 2),
    "no ends": (["MODEL 1", *FIRST, "MODEL 2", *SECOND], 2),
    "two ends": (["MODEL 1", *FIRST, "ENDMDL", "ENDMDL", "MODEL 2", *SECOND, "ENDMDL"], 2),
    "ends alone": ([*FIRST, "ENDMDL", *SECOND, "ENDMDL"], 2),
    "numbers repeated": (["MODEL 1", *FIRST, "ENDMDL", "MODEL 1", *SECOND, "ENDMDL"], 2),
    "numbers backwards": (["MODEL 2", *FIRST, "ENDMDL", "MODEL 1", *SECOND, "ENDMDL"], 2),
    "no numbers": (["MODEL", *FIRST, "ENDMDL", "MODEL", *SECOND, "ENDMDL"], 2),
    "words for numbers": (["MODEL ABC", *FIRST, "ENDMDL", "MODEL DEF", *SECOND, "ENDMDL"], 2),
    "numbers beyond all measure": (["MODEL 99999999999", *FIRST, "ENDMDL", "MODEL -1", *SECOND, "ENDMDL"], 2),
    "a model without atoms": (["MODEL 1", "ENDMDL", "MODEL 2", *FIRST, "ENDMDL"], 1),
    "atoms before the first": ([*FIRST, "MODEL 2", *SECOND, "ENDMDL"], 0),
    "atoms between models": (["MODEL 1", *FIRST, "ENDMDL", *SECOND, "MODEL 2", *SECOND, "ENDMDL"], 0),
    "numbers without a space": (["MODEL1", *FIRST, "MODEL2", *SECOND], 0),
    "no records": ([*FIRST, *SECOND], 0),
}


@pytest.mark.parametrize("case", MODELS)
def test_models_are_read_in_the_order_of_the_file_or_refused(tmp_path: Path, case: str) -> None:
    """`number` models that are never mixed up; 0: refused, for it is not clear where a model begins."""
    lines, number = MODELS[case]
    path = write(tmp_path / "x.pdb", lines)
    for model, start in enumerate((0.0, 50.0)[:number]):
        assert read_structure(path, model).X[0, 0] == start and read_structure(path, model).n_residues == 2
    with pytest.raises(StructureError, match=r"has no model|MODEL"):
        read_structure(path, number)
