"""Ligands: files and atoms become molecules whatever their state; blocks and torsions follow from them."""

import csv
import gzip
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from configs.errors import StructureError
from data.drug_like import SPACE, build_molecule
from data.geometry import turn_bonds
from data.ligand import ligand_from_atoms, ligand_from_file, split_ligand
from data.vocab import UNKNOWN, load_vocabulary

VOCABULARY = load_vocabulary("PS_300")
REAL = Path(os.environ.get("INTERFACE_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
EXAMPLES = [SPACE[i] for i in range(17, len(SPACE), 400)]
real_data = [pytest.mark.real_data, pytest.mark.skipif(not REAL.is_dir(), reason=f"no structures at {REAL}")]


def atoms_of(smiles, seed=1):
    """Elements, coordinates and SMILES of a molecule without hydrogens."""
    molecule = Chem.RemoveHs(build_molecule(smiles, seed))
    return [a.GetSymbol() for a in molecule.GetAtoms()], molecule.GetConformer().GetPositions(), molecule


@pytest.fixture
def sdf(tmp_path):
    path = tmp_path / "ligand.sdf"
    path.write_text(Chem.MolToMolBlock(build_molecule("CC(=O)Nc1ccccc1", 3)) + "$$$$\n")
    return path


def test_sdf_plain_and_gzip_under_any_name(sdf, tmp_path):
    packed = tmp_path / "packed.sdf"
    packed.write_bytes(gzip.compress(sdf.read_bytes()))
    for path in (sdf, packed):
        molecule = ligand_from_file(path)
        assert Chem.MolToSmiles(molecule) == "CC(=O)Nc1ccccc1"
        assert molecule.GetProp("bonds_from") == "file"
        assert molecule.GetConformer().Is3D()


def test_molecule_of_a_file_by_number(sdf):
    sdf.write_text(sdf.read_text() + Chem.MolToMolBlock(build_molecule("CCO", 3)) + "$$$$\n")
    assert Chem.MolToSmiles(ligand_from_file(sdf, 1)) == "CCO"
    with pytest.raises(StructureError, match=r"ligand\.sdf: has 2 molecules, number 2"):
        ligand_from_file(sdf, 2)


def test_further_molecules_of_a_file_are_told(sdf, caplog):
    first = Chem.MolToSmiles(ligand_from_file(sdf))
    assert not caplog.messages
    sdf.write_text(sdf.read_text() + Chem.MolToMolBlock(build_molecule("CCO", 3)) + "$$$$\n")
    assert Chem.MolToSmiles(ligand_from_file(sdf)) == first
    assert "holds 2 molecules, the first is taken" in caplog.text


MOL2 = """@<TRIPOS>MOLECULE
x
 3 2
SMALL
NO_CHARGES

@<TRIPOS>ATOM
 1 C1 0.0 0.0 0.0 {carbon} 1 LIG 0.0
 2 C2 1.53 0.0 0.0 {carbon} 1 LIG 0.0
 3 O1 2.0 1.35 0.0 {oxygen} 1 LIG 0.0
@<TRIPOS>BOND
 1 1 2 1
 2 2 3 1
"""


@pytest.mark.parametrize("types", [("C.3", "O.3"), ("C.weird", "O.strange")])
def test_mol2_also_with_unknown_atom_types(tmp_path, types):
    path = tmp_path / "ligand.mol2"
    path.write_text(MOL2.format(carbon=types[0], oxygen=types[1]))
    assert Chem.MolToSmiles(ligand_from_file(path)) == "CCO"


def test_bad_files_are_named(tmp_path, sdf):
    with pytest.raises(StructureError, match=r"gone\.sdf: no such file"):
        ligand_from_file(tmp_path / "gone.sdf")
    lines = sdf.read_text().splitlines()
    sdf.write_text("\n".join(lines[:8]))
    with pytest.raises(StructureError, match=r"ligand\.sdf: record 0 is not a readable SDF"):
        ligand_from_file(sdf)
    sdf.write_bytes(gzip.compress("\n".join(lines).encode())[:60])
    with pytest.raises(StructureError, match=r"ligand\.sdf: is damaged gzip data"):
        ligand_from_file(sdf)
    flat = Chem.MolFromSmiles("CC(=O)Nc1ccccc1")
    Chem.rdDepictor.Compute2DCoords(flat)
    sdf.write_text(Chem.MolToMolBlock(flat))
    with pytest.raises(StructureError, match="2D coordinates"):
        ligand_from_file(sdf)


@pytest.mark.parametrize("smiles", EXAMPLES)
def test_template_gives_back_the_molecule(smiles):
    elements, coords, molecule = atoms_of(smiles)
    found = ligand_from_atoms(elements, coords, smiles=smiles)
    assert found.GetProp("bonds_from") == "template"
    assert split_ligand(found, VOCABULARY).smiles == split_ligand(molecule, VOCABULARY).smiles
    assert [a.GetSymbol() for a in found.GetAtoms()] == elements


def test_geometry_gives_back_nearly_all_bond_orders():
    """Perceived from heavy atoms alone; the shares are what the present rules reach, less a margin."""
    same = total = 0
    for smiles in SPACE[5::97]:
        elements, coords, molecule = atoms_of(smiles)
        found = ligand_from_atoms(elements, coords)
        assert found.GetProp("bonds_from") == "perceived"
        assert found.GetNumBonds() == molecule.GetNumBonds()
        names = [Counter(split_ligand(m, VOCABULARY).block_resname) for m in (found, molecule)]
        same += names[0] == names[1]
        total += 1
    assert same / total > 0.75


def test_partly_resolved_ligand_takes_its_part_of_the_template():
    smiles = "Clc1ccc(cc1)C(=O)NC1CCOCC1"
    elements, coords, _ = atoms_of(smiles)
    found = ligand_from_atoms(elements[:-3], coords[:-3], smiles=smiles)
    assert found.GetProp("bonds_from") == "template"
    assert found.GetNumAtoms() == len(elements) - 3
    assert found.HasSubstructMatch(Chem.MolFromSmarts("c1(Cl)ccc(C(=O)N)cc1"))


def test_template_of_another_molecule_is_not_used():
    elements, coords, _ = atoms_of("CCOCC")
    found = ligand_from_atoms(elements, coords, smiles="c1ccncc1")
    assert found.GetProp("bonds_from") == "perceived"
    assert split_ligand(found, VOCABULARY).smiles == "CCOCC"


def test_nothing_crashes_on_odd_input():
    rng = np.random.default_rng(0)
    for elements in (["ZN"], ["X", "Q"], ["FE", "N", "N", "N", "N", "C"], ["C"] * 60, ["B", "F", "F", "F", "F", "F"]):
        blocks = split_ligand(ligand_from_atoms(elements, rng.normal(size=(len(elements), 3))), VOCABULARY)
        assert sorted(blocks.order) == list(range(len(elements)))
        assert blocks.block_lengths.sum() == len(elements)
    assert split_ligand(ligand_from_atoms(["X"], np.zeros((1, 3))), VOCABULARY).B.tolist() == [UNKNOWN]


@pytest.mark.parametrize(
    ("elements", "coords", "smiles", "message"),
    [
        (["C", "O"], [[0, 0, 0], [np.nan, 0, 0]], None, r"x\.pdb, A 12, LIG: atom O7 has a coordinate"),
        (["C", "O"], [[0, 0, 0], [1.4, 0, 0]], "C1CC(", r"the SMILES 'C1CC\(' can't be parsed"),
        ([], np.zeros((0, 3)), None, "has no heavy atoms"),
        (["C"], np.zeros((2, 3)), None, "1 elements for 2 coordinates"),
    ],
)
def test_bad_atoms_are_named(elements, coords, smiles, message):
    with pytest.raises(StructureError, match=message):
        ligand_from_atoms(elements, np.array(coords), ["C1", "O7"], smiles, "LIG", ("x.pdb", "A 12"))


def test_without_fragments_every_atom_is_a_block():
    elements, coords, _ = atoms_of("CC(=O)O")
    blocks = split_ligand(ligand_from_atoms(elements, coords), load_vocabulary(None))
    assert blocks.block_resname == ["C", "C", "O", "O"]


def rotatable(smiles):
    """Elements at both ends of every rotatable bond."""
    _, _, molecule = atoms_of(smiles)
    blocks = split_ligand(molecule, VOCABULARY)
    symbols = [molecule.GetAtomWithIdx(int(i)).GetSymbol() for i in blocks.order]
    return sorted("".join(sorted((symbols[p], symbols[q]))) for p, q in blocks.tor_bonds)


def test_rotatable_bonds():
    assert rotatable("CCCC") == ["CC"]
    assert rotatable("CCC#CC") == []
    assert rotatable("CC(=O)NC") == []
    assert rotatable("CC(=O)OCC") == ["CO"]
    assert rotatable("c1ccccc1-c1ccccc1") == ["CC"]
    assert rotatable("C1CCCCC1") == []


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(EXAMPLES), st.integers(0, 2**31))
def test_turning_keeps_bond_lengths_and_angles(smiles, seed):
    molecule = atoms_of(smiles)[2]
    blocks = split_ligand(molecule, VOCABULARY)
    angles = np.random.default_rng(seed).uniform(-np.pi, np.pi, len(blocks.tor_bonds))
    turned = turn_bonds(
        blocks.X, blocks.tor_bonds, blocks.tor_depth, blocks.tor_moved_lengths, blocks.tor_moved, angles
    )
    ordered = Chem.RenumberAtoms(molecule, blocks.order.tolist())
    near = Chem.GetDistanceMatrix(ordered)
    i, j = np.nonzero(np.triu((near == 1) | (near == 2)))
    before, after = (np.linalg.norm(x[i] - x[j], axis=1) for x in (blocks.X, turned))
    np.testing.assert_allclose(after, before, atol=2e-4)
    ends = np.cumsum(blocks.tor_moved_lengths)
    for (_, q), moved in zip(blocks.tor_bonds, np.split(blocks.tor_moved, ends[:-1])):
        assert q not in moved
        assert len(moved) <= molecule.GetNumAtoms() // 2


class TestRealLigands:
    pytestmark = real_data

    def test_affinity_ligands_have_no_unknown_block_and_equal_their_template(self):
        with (REAL / "pl_affinity" / "interfaces.csv").open() as file:
            rows = list(csv.DictReader(file))[::40]
        for row in rows:
            molecule = ligand_from_file(REAL / row["ligand_path"])
            blocks = split_ligand(molecule, VOCABULARY)
            assert (blocks.B != UNKNOWN).all()
            elements = [a.GetSymbol() for a in molecule.GetAtoms()]
            again = ligand_from_atoms(elements, molecule.GetConformer().GetPositions(), smiles=row["lig_smiles"])
            assert again.GetProp("bonds_from") == "template"
            assert Counter(split_ligand(again, VOCABULARY).block_resname) == Counter(blocks.block_resname)


def test_a_smiles_that_does_not_fit_is_named_in_the_log(caplog):
    coords = np.array([[0.0, 0, 0], [1.5, 0, 0], [2.2, 1.3, 0]])
    found = ligand_from_atoms(["C", "C", "O"], coords, smiles="c1ccncc1", where=("x.pdb", "residue 7 LIG"))
    assert found.GetProp("bonds_from") == "perceived"
    assert "x.pdb, residue 7 LIG: the SMILES c1ccncc1 does not fit its 3 heavy atoms; bonds perceived" in caplog.text
    caplog.clear()
    ligand_from_atoms(["C", "C", "O"], coords, smiles="CCO")
    assert caplog.text == ""
