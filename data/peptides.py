"""Peptides built from their sequence: ideal backbone geometry, side chains put on, hydrogens added, minimised."""

from functools import lru_cache

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

# Backbone angles (phi, psi) in degrees of the conformations that are built, and their spread.
CONFORMATIONS = {"helix": (-62.0, -42.0), "strand": (-125.0, 135.0), "extended": (-80.0, 150.0)}
SPREAD = 10.0
PROLINE_PHI = -68.0
# Ideal backbone geometry (Engh and Huber, Acta Cryst. A47, 1991): lengths in Å, angles in degrees.
N_CA, CA_C, C_N, C_O = 1.458, 1.525, 1.329, 1.231
AT_CA, AT_C, AT_N, AT_O = 111.0, 116.6, 121.7, 120.1
BACKBONE = ("N", "CA", "C", "O", "OXT")


def build_peptide(sequence: str, conformation: str, rng: np.random.Generator, minimise_steps: int = 50) -> Chem.Mol:
    """A neutral peptide with hydrogens, coordinates in Å, and residue and atom names in its PDB information.

    Args:
        sequence: one-letter codes of standard amino acids. conformation: a key of CONFORMATIONS.
        minimise_steps: of MMFF94; they free clashing side chains and leave the fold as it is.
    """
    peptide = Chem.MolFromSequence(sequence)
    frames = _backbone(sequence, *CONFORMATIONS[conformation], rng)
    position: dict[tuple[int, str], np.ndarray] = {}
    for number, (letter, frame) in enumerate(zip(sequence, frames), 1):
        names, coords = _residue(letter)
        core = coords[[names.index(name) for name in BACKBONE[:3]]]
        rotation, shift = _superposition(core, frame[:3])
        position |= {(number, name): xyz for name, xyz in zip(names, coords @ rotation + shift)}
        position |= {(number, name): xyz for name, xyz in zip(BACKBONE, frame)}
    conformer = Chem.Conformer(peptide.GetNumAtoms())
    for atom in peptide.GetAtoms():
        place = (atom.GetPDBResidueInfo().GetResidueNumber(), atom.GetPDBResidueInfo().GetName().strip())
        conformer.SetAtomPosition(atom.GetIdx(), position[place].tolist())
    peptide.AddConformer(conformer)
    peptide = Chem.AddHs(peptide, addCoords=True, addResidueInfo=True)
    with rdBase.BlockLogs():
        rdForceFieldHelpers.MMFFOptimizeMolecule(peptide, maxIters=minimise_steps)
    return peptide


@lru_cache(maxsize=32)
def _residue(letter: str) -> tuple[list[str], np.ndarray]:
    """Names and coordinates of the heavy atoms of a free amino acid."""
    residue = Chem.AddHs(Chem.MolFromSequence(letter))
    rdDistGeom.EmbedMolecule(residue, randomSeed=7)
    heavy = [atom for atom in residue.GetAtoms() if atom.GetAtomicNum() > 1]
    names = [atom.GetPDBResidueInfo().GetName().strip() for atom in heavy]
    return names, residue.GetConformer().GetPositions()[[atom.GetIdx() for atom in heavy]]


def _superposition(moving: np.ndarray, fixed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (for row vectors) and shift that put the frame of three points on that of three others."""
    rotation = _axes(moving).T @ _axes(fixed)
    return rotation, fixed[1] - moving[1] @ rotation


def _axes(points: np.ndarray) -> np.ndarray:
    """Orthonormal rows from three points: along the bisector, in the plane, and normal to it."""
    first, second = points[0] - points[1], points[2] - points[1]
    first, second = first / np.linalg.norm(first), second / np.linalg.norm(second)
    bisector = first + second
    normal = np.cross(first, second)
    rows = np.array([bisector, np.cross(normal, bisector), normal])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _backbone(sequence: str, phi: float, psi: float, rng: np.random.Generator) -> np.ndarray:
    """Positions [residues, 5, 3] of N, CA, C, O and the oxygen or nitrogen that follows C (OXT of the last residue)."""
    n = len(sequence)
    phis, psis = phi + SPREAD * rng.standard_normal(n), psi + SPREAD * rng.standard_normal(n)
    phis[[letter == "P" for letter in sequence]] = PROLINE_PHI
    a, b = np.zeros(3), np.array([N_CA, 0.0, 0.0])
    c = place_atom(np.array([0.0, 1.0, 0.0]), a, b, CA_C, AT_CA, float(phis[0]))
    frames = []
    for i in range(n):
        after = place_atom(a, b, c, C_N, AT_C, float(psis[i]))
        oxygen = place_atom(a, b, c, C_O, AT_O, float(psis[i]) + 180)
        frames.append(np.array([a, b, c, oxygen, after]))
        if i + 1 < n:
            a, ca = after, place_atom(b, c, after, N_CA, AT_N, 180.0)
            b, c = ca, place_atom(c, after, ca, CA_C, AT_CA, float(phis[i + 1]))
    return np.array(frames)


def place_atom(a: np.ndarray, b: np.ndarray, c: np.ndarray, length: float, angle: float, torsion: float) -> np.ndarray:
    """Point at a length (Å) from c, with the angle b-c-point and the torsion a-b-c-point (degrees)."""
    along = (c - b) / np.linalg.norm(c - b)
    normal = np.cross(b - a, along)
    normal /= np.linalg.norm(normal)
    bend, turn = np.radians(180 - angle), np.radians(torsion)
    in_plane = np.cross(normal, along)
    direction = np.cos(bend) * along + np.sin(bend) * (np.cos(turn) * in_plane + np.sin(turn) * normal)
    return c + length * direction
