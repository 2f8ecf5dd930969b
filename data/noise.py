"""Noise of denoising pretraining: one segment of an item is rotated, shifted, twisted and shaken.

Every function takes an item and random numbers and returns a new item that carries what was done (`rot_score`,
`tr_eps` and `tr_score`, `tor_score`, `atom_eps` and `atom_score`): the targets of the losses in docs/model.md.
"""

from dataclasses import dataclass

import numpy as np

from configs.errors import ConfigError
from configs.schema import NoiseOptions
from data import wrapped_normal
from data.crop import crop
from data.geometry import rotation_matrices, superposed, turn_bonds
from data.igso3 import angle_grid
from data.item import Item
from data.masking import mask_blocks
from data.vocab import FIRST_ELEMENT, FIRST_MASKABLE

SMALLEST_SCALE = 0.1  # of translation and atom noise, Å: their scale is uniform from here to the option's value


def segment_atoms(item: Item, segment: int) -> slice:
    """The atoms of a segment; segment 0 comes first."""
    split = int(item.block_lengths[item.segment_ids == 0].sum())
    return slice(0, split) if segment == 0 else slice(split, item.n_atoms)


def choose_segment(item: Item, rng: np.random.Generator) -> int:
    """The segment to be noised: a random one of those present.

    A segment of one atom (an ion) is left alone when there is another: no model can see how it was rotated. Shifting
    the partner teaches the same relative position.
    """
    present = sorted({int(item.segment_ids[0]), int(item.segment_ids[-1])})
    sizes = [atoms.stop - atoms.start for atoms in (segment_atoms(item, segment) for segment in present)]
    candidates = [segment for segment, size in zip(present, sizes) if size > 1] or present
    return candidates[int(rng.integers(len(candidates)))]


def _moved(item: Item, atoms: slice, positions: np.ndarray) -> np.ndarray:
    """A copy of X with the positions of some atoms replaced."""
    X = item.X.copy()
    X[atoms] = positions
    return X


def _random_scale(largest: float, rng: np.random.Generator) -> float:
    return float(rng.uniform(min(SMALLEST_SCALE, largest), largest))


def rotate(item: Item, segment: int, width: float, max_rotation: float, rng: np.random.Generator) -> Item:
    """Rotate a segment about the mean of its atoms: an angle of IGSO(3) on a grid, a uniform axis.

    `rot_score` [3] is the axis times d log density / d angle (`data.igso3`).

    Args:
        width: of IGSO(3). max_rotation: largest angle, radians.
    """
    angle, score = angle_grid(width, max_rotation).draw(rng)
    axis = rng.standard_normal(3)
    axis /= np.sqrt(axis @ axis)
    atoms = segment_atoms(item, segment)
    positions = item.X[atoms].astype(np.float64)
    centre = positions.mean(0)
    turn = rotation_matrices(axis[None], np.array([angle]))[0]
    turned = (positions - centre) @ turn.T + centre
    return item.with_(X=_moved(item, atoms, turned), noisy_segment=segment, rot_score=(score * axis).astype(np.float32))


def translate(item: Item, segment: int, largest: float, rng: np.random.Generator) -> Item:
    """Shift a segment by eps * n, eps uniform in [0.1, largest] Å, n ~ N(0, I); `tr_eps` = eps, `tr_score` = n."""
    eps, direction = _random_scale(largest, rng), rng.standard_normal(3)
    atoms = segment_atoms(item, segment)
    X = _moved(item, atoms, item.X[atoms] + eps * direction)
    return item.with_(X=X, noisy_segment=segment, tr_eps=eps, tr_score=direction.astype(np.float32))


def is_ligand(item: Item, segment: int) -> bool:
    """Whether a segment holds only elements and fragments (or unknown blocks): no residue, no nucleotide."""
    types = item.B[item.segment_ids == segment]
    return not bool(((types >= FIRST_MASKABLE) & (types < FIRST_ELEMENT)).any())


def twist(item: Item, segment: int, deviation: float, rng: np.random.Generator) -> Item:
    """Turn every rotatable bond of a segment by an angle ~ N(0, deviation), radians.

    `tor_score` [torsions] is the score of the wrapped normal at that angle; `tor_bonds` keeps the turned bonds only. A
    ligand is put back onto where it was (least squares), so that torsion noise does not move it as a whole.
    """
    atoms = segment_atoms(item, segment)
    none = item.with_(
        noisy_segment=segment,
        tor_bonds=np.zeros((0, 2), np.int32),
        tor_score=np.zeros(0, np.float32),
        tor_depth=None,
        tor_moved_lengths=None,
        tor_moved=None,
    )
    if item.tor_bonds is None or item.tor_depth is None or item.tor_moved_lengths is None or item.tor_moved is None:
        return none
    here = (item.tor_bonds[:, 0] >= atoms.start) & (item.tor_bonds[:, 0] < atoms.stop)
    bonds = item.tor_bonds[here]
    if not len(bonds):
        return none
    moved = item.tor_moved[np.repeat(here, item.tor_moved_lengths)]
    angles = rng.standard_normal(len(bonds)) * deviation
    shift = atoms.start
    before = item.X[atoms].astype(np.float64)
    after = turn_bonds(before, bonds - shift, item.tor_depth[here], item.tor_moved_lengths[here], moved - shift, angles)
    if is_ligand(item, segment):
        after = superposed(after, before)
    score = wrapped_normal.score(angles, deviation).astype(np.float32)
    return none.with_(X=_moved(item, atoms, after), tor_bonds=bonds, tor_score=score)


def shake(item: Item, segment: int, largest: float, rng: np.random.Generator) -> Item:
    """Shift every atom of a segment by eps * n with one eps, uniform in [0.1, largest] Å, and n ~ N(0, I) an atom.

    `atom_eps` = eps; `atom_score` [atoms, 3] = n, zero in the other segment.
    """
    atoms = segment_atoms(item, segment)
    eps = _random_scale(largest, rng)
    score = np.zeros((item.n_atoms, 3), np.float32)
    score[atoms] = rng.standard_normal((atoms.stop - atoms.start, 3), np.float32)
    X = item.X + np.float32(eps) * score
    return item.with_(X=X, noisy_segment=segment, atom_eps=eps, atom_score=score)


@dataclass(frozen=True)
class PretrainTransform:
    """Crop, noise and mask an item: crop, rotation, translation, torsion, atom noise, masked blocks, in this order.

    Args:
        noise: what to apply; a level of 0 leaves that step out.
        max_blocks: larger items are cropped around a contact (None: never).

    Raises:
        ConfigError: a block budget that can't hold a contact.
    """

    noise: NoiseOptions
    max_blocks: int | None = None

    def __post_init__(self) -> None:
        if self.max_blocks is not None and self.max_blocks < 2:
            raise ConfigError("must hold a block of each segment: at least 2", "--max_n_vertex_per_item")

    def __call__(self, item: Item, rng: np.random.Generator) -> Item:
        noise = self.noise
        if self.max_blocks is not None:
            item = crop(item, self.max_blocks, rng)
        segment = choose_segment(item, rng)
        if noise.rotation_noise:
            item = rotate(item, segment, noise.rotation_noise, noise.max_rotation, rng)
        if noise.translation_noise:
            item = translate(item, segment, noise.translation_noise, rng)
        if noise.torsion_noise:
            item = twist(item, segment, noise.torsion_noise, rng)
        if noise.atom_noise:
            item = shake(item, segment, noise.atom_noise, rng)
        if noise.mask_proportion:
            item = mask_blocks(item, noise.mask_proportion, rng)
        return item
