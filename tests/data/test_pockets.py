"""Pockets and decoys: nothing of the ligand goes into an item, and decoys keep away from what is bound."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree
from structure_texts import SER, atom, chain_of, dimer, write

from configs.errors import InterfaceError, StructureError
from data.pockets import (
    AWAY,
    bound_group,
    decoy_residues,
    laid_on,
    pocket_item,
    random_rotation,
    residues_near,
    residues_of_chain,
)
from data.structure import Structure, read_structure
from data.vocab import MODALITIES, load_vocabulary

ZINC = np.array([[5.0, 4.4, 1.5]])


def structure(tmp_path: Path, lines: list[str] | None = None) -> Structure:
    return read_structure(write(tmp_path / "a.pdb", lines or dimer()))


def ball(radius: float = 12.0, spacing: float = 4.0) -> list[str]:
    """Residues of one atom on a lattice inside a sphere, and a ligand of four atoms on top of it."""
    axis = np.arange(-radius, radius + 1, spacing)
    places = [p for p in np.stack(np.meshgrid(axis, axis, axis), -1).reshape(-1, 3) if np.linalg.norm(p) <= radius]
    lines = [atom("CA", "GLY", "A", i + 1, tuple(p)) for i, p in enumerate(places)]
    top = [(0.0, 0.0, radius + 3.0 + i * 1.4) for i in range(4)]
    return lines + [atom(f"C{i}", "LIG", "A", 900, p, hetero=True) for i, p in enumerate(top)]


def test_a_pocket_is_the_residues_of_the_chain_near_the_ligand(tmp_path: Path) -> None:
    found = structure(tmp_path)
    chain = residues_of_chain(found, "A")
    near = residues_near(found, chain, ZINC, 4.0)
    distance = [np.linalg.norm(found.X[found.atoms_of(np.array([r]))] - ZINC, axis=1).min() for r in chain]
    assert near.tolist() == chain[np.array(distance) <= 4.0].tolist()
    assert 0 < len(near) < len(chain)
    item = pocket_item(found, near, load_vocabulary(), id="p", label=2.0, group="F1")
    assert set(item.block_chain or []) == {"A"}
    assert item.segment_ids.tolist() == [0] * item.n_blocks
    assert (item.label, item.group, MODALITIES[item.modality]) == (2.0, "F1", "other")


def test_nothing_of_what_is_bound_goes_into_the_item(tmp_path: Path) -> None:
    found = structure(tmp_path)
    chain = residues_of_chain(found, "A")
    item = pocket_item(found, residues_near(found, chain, ZINC, 8.0), load_vocabulary(), id="p", label=0, group="")
    assert "ZN" not in (item.block_resname or [])
    assert cKDTree(item.X).query(ZINC)[0].min() > 1.0
    other = [line.replace("ZN    ZN", "MN    MN").replace("ZN  ", "MN  ") for line in dimer()]
    changed = structure(tmp_path, other)
    assert "MN" in changed.resname.tolist()
    again = pocket_item(changed, residues_near(changed, chain, ZINC, 8.0), load_vocabulary(), id="p", label=0, group="")
    assert again.B.tolist() == item.B.tolist() and np.array_equal(again.X, item.X)


def test_no_residues_and_no_chain_are_refused(tmp_path: Path) -> None:
    found = structure(tmp_path)
    with pytest.raises(InterfaceError, match="p has no residues"):
        pocket_item(found, np.zeros(0, int), load_vocabulary(), id="p", label=0, group="")
    with pytest.raises(StructureError, match="no polymer in chain 'Z'"):
        residues_of_chain(found, "Z")


def test_groups_bonded_to_others_do_not_count(tmp_path: Path) -> None:
    lone = structure(tmp_path, ball())
    assert len(bound_group(lone, "LIG", "900", "A")) == 4
    top = (0.0, 0.0, 12.0 + 3.0 + 3 * 1.4 + 1.4)
    pair = structure(tmp_path, [*ball(), atom("C9", "BMA", "A", 901, top, hetero=True)])
    with pytest.raises(InterfaceError, match="LIG 900 is bonded"):
        bound_group(pair, "LIG", "900", "A")
    near = (0.0, 0.0, 13.5)  # a carbon 1.5 Å from the last residue
    tied = structure(
        tmp_path,
        [
            *ball()[:-4],
            *(atom(f"C{i}", "LIG", "A", 900, near, hetero=True) for i in (1,)),
            atom("C2", "LIG", "A", 900, (0, 0, 14.9), hetero=True),
        ],
    )
    with pytest.raises(InterfaceError, match="LIG 900 is bonded"):
        bound_group(tied, "LIG", "900", "A")


def test_decoys_keep_away_and_have_the_size_of_the_pocket(tmp_path: Path) -> None:
    found = structure(tmp_path, ball())
    chain, ligand = residues_of_chain(found, "A"), bound_group(found, "LIG", "900", "A")
    pocket = residues_near(found, chain, ligand, 8.0)
    places = []
    for seed in range(3):
        decoy = decoy_residues(found, chain, ligand, np.random.default_rng(seed))
        assert decoy is not None
        assert len(decoy) == len(pocket)
        assert decoy.tolist() == sorted(decoy.tolist())
        assert np.isin(decoy, pocket).mean() <= 0.5
        places.append(decoy.tolist())
    assert len({tuple(place) for place in places}) > 1
    again = decoy_residues(found, chain, ligand, np.random.default_rng(0))
    assert again is not None and again.tolist() == places[0]


def test_a_chain_that_is_all_pocket_has_no_decoy(tmp_path: Path) -> None:
    lines = [*chain_of("SER", 3, "A", SER), atom("C1", "LIG", "A", 9, (4.0, 4.6, 1.0), hetero=True)]
    found = structure(tmp_path, lines)
    chain, ligand = residues_of_chain(found, "A"), bound_group(found, "LIG", "9", "A")
    assert decoy_residues(found, chain, ligand, np.random.default_rng(0)) is None


def test_copies_lie_outside_at_the_distance_asked_for(tmp_path: Path) -> None:
    found = structure(tmp_path, ball())
    chain, ligand = residues_of_chain(found, "A"), bound_group(found, "LIG", "900", "A")
    atoms = found.X[found.atoms_of(chain)]
    tree, rng = cKDTree(atoms), np.random.default_rng(0)
    copies = [laid_on(tree, start, ligand, 3.0, rng) for start in atoms]
    laid = [copy for copy in copies if copy is not None]
    assert len(laid) > len(atoms) / 10
    for copy in laid:
        assert 3.0 <= tree.query(copy)[0].min() < 5.0
        np.testing.assert_allclose(np.linalg.norm(np.diff(copy, axis=0), axis=1), 1.4, atol=2e-3)
    assert copies[int(np.linalg.norm(atoms, axis=1).argmin())] is None  # the middle of the ball
    assert AWAY > 3.0


def test_random_rotations_are_rotations() -> None:
    turn = random_rotation(np.random.default_rng(1))
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)
