"""Fragmentation: every entry of the vocabulary is reachable, every atom is in one fragment, in any atom order."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from configs.errors import DataError
from data.drug_like import SPACE
from data.fragments import AtomGraph, FragmentTable, fragment_name, key_of_smiles, split_molecule
from data.vocab import load_vocabulary

VOCABULARY = load_vocabulary("PS_300")
TABLE = FragmentTable({smiles: VOCABULARY.frequency[smiles] for smiles in VOCABULARY.fragment_smiles})


def split(smiles: str, table: FragmentTable = TABLE) -> list[str]:
    return sorted(fragment.smiles for fragment in split_molecule(Chem.MolFromSmiles(smiles), table))


@pytest.mark.parametrize("smiles", VOCABULARY.fragment_smiles)
def test_every_entry_is_one_fragment_of_its_own(smiles):
    assert TABLE.lookup(key_of_smiles(smiles)) == (smiles, VOCABULARY.frequency[smiles])
    alone = FragmentTable({smiles: 1})
    assert alone.lookup(key_of_smiles(smiles))[0] == smiles


@pytest.mark.parametrize(
    ("molecule", "entry"),
    [
        ("OC[C@H]1O[C@@H](OC)[C@H](O)[C@@H](O)[C@@H]1O", "OC[C@H]1OC[C@H](O)[C@@H](O)[C@@H]1O"),
        ("CCNC(=O)[C@H](C)NC(=O)CC", "CCNC(=O)[C@H](C)NC=O"),
        ("OC(=O)[C@@H]1CCCN1S(=O)(=O)c1ccccc1", "O=C[C@@H]1CCCN1"),
        ("CCS(=O)(=O)NC", "N[SH](=O)=O"),
        ("C[N+](C)(C)CC(O)=O", "C[N+]C"),
        ("O=[N+]([O-])CC", "O=[N+][O-]"),
        ("OP(=O)(O)OC", "O=[PH](O)O"),
        ("C[n+]1ccccc1", "c1cc[n+]cc1"),
        ("Cn1ccc(=O)[nH]c1=O", "[nH]c=O"),
    ],
)
def test_parts_of_molecules_are_named_as_the_vocabulary_does(molecule, entry):
    mol = Chem.MolFromSmiles(molecule)
    graph, target = AtomGraph(mol), key_of_smiles(entry)
    n = len(target[0])
    keys = (graph.key(atoms) for atoms in combinations(range(mol.GetNumAtoms()), n))
    assert entry in VOCABULARY.fragments
    assert any(fragment_name(key) == fragment_name(target) for key in keys if len(key[1]) >= n - 1)


def test_mirror_images_have_different_names():
    assert TABLE.lookup(key_of_smiles("CCNC(=O)[C@H](C)NC=O"))[0] == "CCNC(=O)[C@H](C)NC=O"
    assert TABLE.lookup(key_of_smiles("CCNC(=O)[C@@H](C)NC=O")) == ("", 0)


def test_the_one_fragment_that_the_vocabulary_holds_twice_gets_either_name():
    """`nc[nH]` and `[nH]cn` are the same atoms; the published vocabulary counts both ways of writing them."""
    graph = AtomGraph(Chem.MolFromSmiles("Cc1c[nH]cn1"))
    names = {TABLE.lookup(graph.key(atoms))[0] for atoms in ((3, 4, 5), (5, 4, 3))}
    assert names <= {"nc[nH]", "[nH]cn"}


def test_a_neighbour_left_outside_keeps_the_handedness():
    """A quaternary stereocentre named without one neighbour is the centre with a hydrogen in that place."""
    mol = Chem.MolFromSmiles("CC[C@](F)(Cl)Br")
    graph = AtomGraph(mol)
    for outside in (3, 4, 5, 1):
        atoms = tuple(a for a in range(6) if a != outside and not (outside == 1 and a == 0))
        replaced = Chem.RWMol(mol)
        replaced.GetAtomWithIdx(outside).SetAtomicNum(1)
        if outside == 1:
            replaced.RemoveAtom(0)
        expected = Chem.MolToSmiles(Chem.RemoveAllHs(replaced.GetMol(), sanitize=False))
        assert fragment_name(graph.key(atoms)) == Chem.CanonSmiles(expected)


def test_the_most_frequent_union_wins():
    assert split("CCO", FragmentTable({"CC": 1, "CO": 2})) == ["C", "CO"]
    assert split("CCO", FragmentTable({"CC": 2, "CO": 1})) == ["CC", "O"]
    assert split("CCO", FragmentTable({"CC": 2, "CO": 1, "CCO": 1})) == ["CCO"]


@pytest.mark.parametrize(
    ("charged", "neutral"), [("CC[NH3+]", "CCN"), ("CC(=O)[O-]", "CC(=O)O"), ("NC(=[NH2+])c1ccccc1", "NC(=N)c1ccccc1")]
)
def test_protonation_is_not_part_of_a_name(charged, neutral):
    assert split(charged) == split(neutral)


def test_metals_are_blocks_of_their_own():
    assert split("[Zn+2].CCO") == ["CCO", "Zn"]
    bonded = Chem.MolFromSmiles("CC[Hg]CC", sanitize=False)
    assert sorted(f.smiles for f in split_molecule(bonded, TABLE)) == ["CC", "CC", "Hg"]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SPACE), st.integers(0, 2**31))
def test_every_atom_once_and_in_any_order(smiles, seed):
    mol = Chem.MolFromSmiles(smiles)
    fragments = split_molecule(mol, TABLE)
    assert sorted(atom for f in fragments for atom in f.atoms) == list(range(mol.GetNumAtoms()))
    order = np.random.default_rng(seed).permutation(mol.GetNumAtoms()).tolist()
    again = split_molecule(Chem.RenumberAtoms(mol, order), TABLE)
    assert Counter(f.smiles for f in again) == Counter(f.smiles for f in fragments)


def test_an_entry_that_is_no_smiles_is_named():
    with pytest.raises(DataError, match=r"'C1C\(', which is no SMILES"):
        FragmentTable({"C1C(": 1})
