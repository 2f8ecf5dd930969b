"""How alike ligands are: Bemis-Murcko scaffolds and Tanimoto similarity of Morgan fingerprints."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from rdkit import Chem, DataStructs, rdBase
from rdkit.Chem import rdFingerprintGenerator
from rdkit.Chem.Scaffolds import MurckoScaffold

from configs.errors import DataError

RADIUS, BITS = 2, 2048


@lru_cache(maxsize=100_000)
def molecule_of(smiles: str) -> Chem.Mol:
    """The molecule of a SMILES; DataError when it is none."""
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or not molecule.GetNumAtoms():
        raise DataError(f"{smiles!r} is no SMILES")
    return molecule


def scaffold_of(smiles: str) -> str:
    """Canonical SMILES of the rings and what links them, without stereo marks (Bemis and Murcko, J. Med. Chem.
    1996;39:2887); of a molecule without rings, its own canonical SMILES."""
    molecule = molecule_of(smiles)
    scaffold = MurckoScaffold.GetScaffoldForMol(molecule)
    return Chem.MolToSmiles(scaffold if scaffold.GetNumAtoms() else molecule, isomericSmiles=False)


def nearest_ligands(queries: Sequence[str], targets: Sequence[str]) -> list[tuple[int, float]]:
    """For each query the number of its most similar target and their Tanimoto similarity (Morgan, radius 2)."""
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=RADIUS, fpSize=BITS)
    prints = [generator.GetFingerprint(molecule_of(smiles)) for smiles in targets]
    found = []
    for smiles in queries:
        similarity = DataStructs.BulkTanimotoSimilarity(generator.GetFingerprint(molecule_of(smiles)), prints)
        best = int(np.argmax(similarity))
        found.append((best, float(similarity[best])))
    return found
