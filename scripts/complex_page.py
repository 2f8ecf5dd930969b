"""One HTML page of a complex: 3D view coloured by score, bar chart, contact list. It needs nothing from a network.

The view is drawn by a small script of our own in the page (`complex_page.html`). py3Dmol fetches its JavaScript from a
server, and the notebook widgets that bundle theirs would add five megabytes to every page.
"""

import html
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from data.contacts import CONTACT, contacts, distance_to_other_side
from data.item import Item
from data.vocab import ELEMENTS
from data.write_structure import chain_traces, identity
from scripts.html_head import SCRIPTS, STYLES, head

TEMPLATE = Path(__file__).with_name("complex_page.html")
BONDED, BONDED_HEAVY = 1.95, 2.3  # Å, also to sulfur and what is heavier
HEAVY_TYPE = 16  # atom type of silicon (atomic number + 2)


def complex_page(
    item: Item,
    score: np.ndarray,
    title: str,
    what: str,
    signed: bool,
    structure: Any = None,
) -> str:
    """The page as text.

    Args:
        score: [blocks]. what: says what the score is. signed: colour around zero.
        structure: of `data.write_structure`, for the traces of its chains.
    """
    view = {
        "signed": signed,
        "what": what,
        "cutoff": CONTACT,
        "blocks": blocks_of(item, score),
        "atoms": [[*np.round(x, 2).tolist(), symbol(a), b] for x, a, b in atoms_of(item)],
        "bonds": bonds_of(item).tolist(),
        "contacts": [[c.first, c.second, round(c.distance, 2)] for c in contacts(item)],
        "traces": [] if structure is None else list(chain_traces(structure, item)),
    }
    data = json.dumps(view, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    parts = {"head": head(title, SCRIPTS, STYLES), "title": html.escape(title), "data": data}
    page = TEMPLATE.read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], page)


def blocks_of(item: Item, score: np.ndarray) -> list[dict[str, Any]]:
    """What the page says of each block."""
    distance, rank = distance_to_other_side(item), ranks(score)
    places = [identity(item, block) for block in range(item.n_blocks)]
    several, seen = Counter(places), Counter[tuple]()
    rows = []
    for block, place in enumerate(places):
        chain, name, number, icode = place
        seen[place] += 1
        fragment = f" #{seen[place]}" if several[place] > 1 else ""
        rows.append(
            {
                "name": f"{chain}:{name} {number}{icode}{fragment}".lstrip(":"),
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
    return ELEMENTS[atom_type - 3] if 3 <= atom_type < 3 + len(ELEMENTS) else "?"


def bonds_of(item: Item) -> np.ndarray:
    """[bonds, 2] atoms close enough to be bonded; for the eye only."""
    pairs = cKDTree(item.X).query_pairs(BONDED_HEAVY, output_type="ndarray")
    length = np.linalg.norm(item.X[pairs[:, 0]] - item.X[pairs[:, 1]], axis=1)
    heavy = (item.A[pairs] >= HEAVY_TYPE).any(axis=1)
    return pairs[(length <= BONDED) | heavy]
