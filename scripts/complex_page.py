"""One HTML page of a complex: 3D view coloured by score, bar chart, contact list. It needs nothing from a network.

The view is drawn by a small script of our own in the page (`complex_page.html`). py3Dmol fetches its JavaScript from a
server, and the notebook widgets that bundle theirs would add five megabytes to every page.
"""

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
from scipy.spatial import cKDTree

from data.contacts import CONTACT, contacts, distance_to_other_side
from data.item import Item
from data.write_structure import identity

TEMPLATE = Path(__file__).with_name("complex_page.html")
BONDED, BONDED_HEAVY = 1.95, 2.3  # Å, also to sulfur and what is heavier
HEAVY_TYPE = 16  # atom type of silicon (atomic number + 2)
TRACE = {"CA": 4.3, "P": 8.0}
"""Atoms that a chain's trace runs through, and the largest step between them, Å."""


def complex_page(
    item: Item,
    score: np.ndarray,
    title: str,
    what: str,
    signed: bool,
    structure: gemmi.Structure | None = None,
) -> str:
    """The page as text.

    Args:
        score: [blocks]. what: says what the score is. signed: colour around zero.
        structure: for the traces of its chains.
    """
    view = {
        "signed": signed,
        "what": what,
        "cutoff": CONTACT,
        "blocks": blocks_of(item, score),
        "atoms": [[*np.round(x, 2).tolist(), symbol(a), b] for x, a, b in atoms_of(item)],
        "bonds": bonds_of(item).tolist(),
        "contacts": [[c.first, c.second, round(c.distance, 2)] for c in contacts(item)],
        "traces": [] if structure is None else list(traces_of(structure, item)),
    }
    data = json.dumps(view, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    page = TEMPLATE.read_text(encoding="utf-8")
    return page.replace("{{title}}", html.escape(title)).replace("{{data}}", data)


def blocks_of(item: Item, score: np.ndarray) -> list[dict[str, Any]]:
    """What the page says of each block."""
    distance, rank = distance_to_other_side(item), ranks(score)
    rows = []
    for block in range(item.n_blocks):
        chain, name, number, icode = identity(item, block)
        rows.append(
            {
                "name": f"{chain}:{name} {number}{icode}".lstrip(":"),
                "segment": int(item.segment_ids[block]),
                "score": float(f"{score[block]:.4g}"),
                "rank": int(rank[block]),
                "distance": round(float(distance[block]), 2) if np.isfinite(distance[block]) else None,
            }
        )
    return rows


def ranks(score: np.ndarray) -> np.ndarray:
    """[blocks] 1 for the largest score by size; equal ones in order."""
    rank = np.empty(len(score), np.int64)
    rank[np.argsort(-np.abs(score), kind="stable")] = np.arange(1, len(score) + 1)
    return rank


def atoms_of(item: Item) -> list[tuple[np.ndarray, int, int]]:
    return list(zip(item.X.astype(float), item.A.tolist(), item.block_of_atom.tolist()))


def symbol(atom_type: int) -> str:
    """The element of an atom type; ? for none."""
    return gemmi.Element(atom_type - 2).name if atom_type > 2 else "?"


def bonds_of(item: Item) -> np.ndarray:
    """[bonds, 2] atoms close enough to be bonded; for the eye only."""
    pairs = cKDTree(item.X).query_pairs(BONDED_HEAVY, output_type="ndarray")
    length = np.linalg.norm(item.X[pairs[:, 0]] - item.X[pairs[:, 1]], axis=1)
    heavy = (item.A[pairs] >= HEAVY_TYPE).any(axis=1)
    return pairs[(length <= BONDED) | heavy]


def traces_of(structure: gemmi.Structure, item: Item) -> list[dict[str, Any]]:
    """The traces of the chains that take part, cut where residues are missing."""
    wanted = {} if item.block_chain is None else dict(zip(item.block_chain, item.segment_ids.tolist()))
    found = []
    for chain in structure[0]:
        if chain.name not in wanted:
            continue
        points: list[Sequence[float]] = []
        for residue in chain:
            atom = next((residue[name][0] for name in TRACE if name in residue and not residue.is_water()), None)
            reach = 0.0 if atom is None else TRACE.get(atom.name, 0.0)
            if points and (atom is None or np.linalg.norm(np.subtract(points[-1], atom.pos.tolist())) > reach):
                found.append({"segment": int(wanted[chain.name]), "points": points})
                points = []
            if atom is not None and atom.element.name != "Ca":
                points = [*points, [round(value, 2) for value in atom.pos.tolist()]]
        found.append({"segment": int(wanted[chain.name]), "points": points})
    return [trace for trace in found if len(trace["points"]) > 1]
