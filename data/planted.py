"""A data set whose labels are known to be half composition, half geometry: a test of what a model can learn.

Two short peptides (as those of `data.synthetic`) are pushed together until they touch and then pulled apart by a random
gap. The label, in made-up units, is the sum of two terms of mean 0 and deviation 1 that know nothing of each other: the
mean hydropathy of all residues (Kyte and Doolittle, J Mol Biol 1982;157:105), and the nearness of the sides, minus the
gap. Whoever sees blocks alone can explain the first term and never the second.
"""

from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed

from data.descriptors import HYDROPATHY
from data.item import Item
from data.peptides import CONFORMATIONS, build_peptide
from data.synthetic import AMINO_ACIDS, Complex, item_of, placed, push_together
from data.vocab import Vocabulary

POSES = 3  # of the same partners, which make a group
SHORTEST, LONGEST = 2, 4  # residues
WIDEST_GAP = 8.0  # Å
MEAN_HYDROPATHY = float(np.mean(list(HYDROPATHY.values())))
SPREAD_HYDROPATHY = 1.35  # of the mean over the residues of two peptides
MEAN_LABEL = -10.0


class Planted(NamedTuple):
    """An item and the two terms of its label."""

    item: Item
    composition: float
    geometry: float


def make_planted(n: int, vocabulary: Vocabulary, seed: int = 0, n_jobs: int = 1) -> list[Planted]:
    """n complexes; number i depends on (seed, i) alone."""
    return Parallel(n_jobs=n_jobs)(delayed(planted)(index, seed, vocabulary) for index in range(n))  # type: ignore[no-any-return]


def planted(index: int, seed: int, vocabulary: Vocabulary) -> Planted:
    """Complex number `index` of a seed."""
    partners, rng = np.random.default_rng([seed, index // POSES]), np.random.default_rng([seed, index // POSES, index])
    names = ["".join(partners.choice(list(AMINO_ACIDS), partners.integers(SHORTEST, LONGEST + 1))) for _ in range(2)]
    molecules = [build_peptide(name, rng.choice(list(CONFORMATIONS)), rng, minimise_steps=0) for name in names]
    coords = [molecule.GetConformer().GetPositions() for molecule in molecules]
    heavy = [np.array([atom.GetAtomicNum() > 1 for atom in molecule.GetAtoms()]) for molecule in molecules]
    first, second = (x - x[h].mean(axis=0) for x, h in zip(coords, heavy))
    gap = float(rng.uniform(0, WIDEST_GAP))
    second, direction = push_together(first, second, heavy[0], heavy[1], rng)
    pair = placed(molecules[0], first), placed(molecules[1], second + gap * direction)
    item = item_of(
        Complex(*pair, 0.0, "Ppeptide", f"peptides {names[0]} {names[1]}"), f"planted_{seed}_{index:05d}", vocabulary
    )
    oily = float(np.mean([HYDROPATHY[name] for name in item.block_resname or ()]))
    composition = (oily - MEAN_HYDROPATHY) / SPREAD_HYDROPATHY
    geometry = (WIDEST_GAP / 2 - gap) / (WIDEST_GAP / np.sqrt(12))
    return Planted(item.with_(label=MEAN_LABEL + composition + geometry), composition, geometry)
