"""Biopython and loops give the same interface as our reader: the opponent does the same work."""

import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.plain_structures import in_contact, plain_interface, standard_residue
from benchmarks.sections import sample_rows
from configs.errors import StructureError
from data.prepare import process_row
from data.structure import read_structure
from data.vocab import load_vocabulary

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("INTERFACE_DATA", ROOT.parent / "shared" / "data"))


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"INTERFACE_DATA: no folder {DATA}")
@pytest.mark.parametrize("name", ["1akj", "1b7f", "1lcd", "1jd5", "1cho"])  # a PP, PRNA, PDNA, Ppeptide, disulfides
def test_same_blocks_and_atoms_as_ours(name: str) -> None:
    index, vocabulary = DATA / "pretrain" / "interfaces.csv", load_vocabulary("PS_300")
    row = next(row for row in sample_rows(index, 10_000) if row.pdb_id.startswith(name))
    ours = process_row(read_structure(DATA / row.pdb_path), row, vocabulary, DATA)
    plain = plain_interface(DATA / row.pdb_path, (row.chain1, row.chain2), vocabulary)
    for field in ("A", "B", "block_lengths", "segment_ids", "atom_positions"):
        assert getattr(plain, field) == getattr(ours, field).tolist(), field
    np.testing.assert_allclose(plain.X, ours.X, atol=2e-3)
    assert ours.block_chain and ours.block_icode and ours.block_resid is not None and ours.tor_bonds is not None
    assert plain.places == list(zip(ours.block_chain, ours.block_resid.tolist(), ours.block_icode))
    # ours leaves out bonds whose turning would tear a disulfide, too
    assert set(map(tuple, ours.tor_bonds.tolist())) <= set(map(tuple, plain.tor_bonds))
    assert len(plain.tor_bonds) - len(ours.tor_bonds) < 0.1 * len(ours.tor_bonds)


ATOM = "ATOM  {:5d}  {:<3s} {:<3s} {}{:4d}    {:8.3f}{:8.3f}{:8.3f}  1.00  0.00           {}"


def pdb(tmp_path: Path, second: str = "GLY", gap: float = 5.0) -> Path:
    lines = [
        ATOM.format(i + 1, name, residue, chain, 1, x + 1.4 * i, 0.0, 0.0, name[0])
        for chain, residue, x in (("A", "GLY", 0.0), ("B", second, gap + 3))
        for i, name in enumerate(("N", "CA", "C"))
    ]
    (tmp_path / "two.pdb").write_text("\n".join([*lines, "END"]) + "\n")
    return tmp_path / "two.pdb"


def test_two_residues_in_contact(tmp_path: Path) -> None:
    vocabulary = load_vocabulary("PS_300")
    made = plain_interface(pdb(tmp_path), ("A", "B"), vocabulary)
    assert made.segment_ids == [0, 1]
    assert made.block_lengths == [3, 3]
    assert made.A == [9, 8, 8] * 2
    assert [vocabulary.residue("GLY")] * 2 == made.B


@pytest.mark.parametrize(("gap", "chains", "message"), [(20.0, "B", "no contact"), (5.0, "C", "no residues")])
def test_no_interface_is_refused(tmp_path: Path, gap: float, chains: str, message: str) -> None:
    with pytest.raises(StructureError, match=message):
        plain_interface(pdb(tmp_path, gap=gap), ("A", chains), load_vocabulary("PS_300"))


def test_contact_counts_the_cutoff_itself() -> None:
    def side(x: float) -> list:
        return [(None, [("C", 6, [x, 0.0, 0.0])])]

    assert in_contact(side(0), side(8.0), 8.0) == ([True], [True])
    assert in_contact(side(0), side(8.1), 8.0) == ([False], [False])


def test_the_sugar_tells_dna_from_rna() -> None:
    assert standard_residue("A", ["C1'", "O2'"]) == "RA"
    assert standard_residue("A", ["C1'"]) == "DA"
    assert standard_residue("MSE", []) == "MET"
