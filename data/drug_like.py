"""A small chemical space of drug-like molecules: head, linker and tail, each from a list, written as SMILES."""

from itertools import product

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers
from rdkit.Chem.Scaffolds import MurckoScaffold

# Heads end with the atom that bonds to what follows, tails begin with theirs.
HEADS = (
    *("c1ccc(cc1)", "Clc1ccc(cc1)", "Fc1cccc(c1)", "COc1ccc(cc1)", "N#Cc1ccc(cc1)", "Oc1ccc(cc1)", "Cc1ccc(cc1)"),
    *("c1ccnc(c1)", "c1ccc2[nH]cc(c2c1)", "c1ccc2nc(ccc2c1)", "Cc1cc(no1)", "c1csc(c1)", "Nc1ncc(cn1)", "Cn1ccc(n1)"),
)
LINKERS = (
    *("C(=O)N", "C(=O)NC", "S(=O)(=O)N", "CNC(=O)", "NC(=O)", "OCC", "CC", "COC", "NC(=O)N", "CNC", "OCCO", "CCC(=O)N"),
    *("C(=O)N(C)C", "C(=O)OC"),
)
TAILS = (
    *("C1CCCCC1", "C1CCNCC1", "C1CCOCC1", "c1ccccc1", "c1ccncc1", "c1ccc(F)cc1", "CCC(C)C", "C(C)C(=O)O", "CCO"),
    *("c1cccc(c1)C(F)(F)F", "c1ccc(cc1)S(C)(=O)=O", "CC(N)=O", "c1nccs1", "C1CC1", "c1ccc2OCOc2c1", "Cc1cnc[nH]1"),
)
SPACE = tuple("".join(parts) for parts in product(HEADS, LINKERS, TAILS))


def scaffold_of(smiles: str) -> str:
    """Bemis-Murcko scaffold as SMILES; the molecule itself when it has no ring."""
    return MurckoScaffold.MurckoScaffoldSmiles(smiles) or Chem.CanonSmiles(smiles)


def build_molecule(smiles: str, seed: int) -> Chem.Mol:
    """A molecule with hydrogens and one minimised conformer (ETKDG and MMFF94), coordinates in Å."""
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    parameters = rdDistGeom.ETKDGv3()
    parameters.randomSeed = seed  # type: ignore[assignment]  # RDKit's stubs are wrong here
    with rdBase.BlockLogs():
        if rdDistGeom.EmbedMolecule(molecule, parameters) < 0:
            parameters.useRandomCoords = True  # type: ignore[assignment]
            rdDistGeom.EmbedMolecule(molecule, parameters)
        rdForceFieldHelpers.MMFFOptimizeMolecule(molecule, maxIters=200)
    return molecule


def random_molecule(rng: np.random.Generator) -> str:
    """SMILES of a random member of the space."""
    return SPACE[int(rng.integers(len(SPACE)))]
