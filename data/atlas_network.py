"""Which rows of an atlas are near which: for each its nearest ones, as a graph, and how often they are of one kind."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import networkx as nx
import numpy as np

from configs.errors import ConfigError
from data.atlas import Atlas

AT_A_TIME = 4096  # queries
CONTROL = dict.fromkeys([*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF])  # what XML has no place for
MOST_FOUND = 20_000  # of rows searched for each, where those of its own node are left out


def nearest_others(
    atlas: Atlas, top: int, allowed: np.ndarray | None = None, apart: str = "id"
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """For each row: its number, its most similar others and their cosines, best first.

    Args:
        top: how many others at most. allowed: [rows] which rows take part (None: all).
        apart: a column; rows that have the same value there are no others. Rows without a value are apart from all.

    Raises:
        ConfigError: an unknown column, or one with a value that is too frequent.
    """
    places = np.arange(len(atlas)) if allowed is None else np.flatnonzero(allowed)
    values = np.array([value or f"\0{place}" for place, value in enumerate(atlas.column(apart))])
    codes = np.unique(values, return_inverse=True)[1]
    largest = int(np.bincount(codes[places]).max())
    if top + largest > MOST_FOUND:
        raise ConfigError(f"{largest} rows have the same {apart}, too many to look past", apart)
    vectors = atlas.vectors()
    for start in range(0, len(places), AT_A_TIME):
        some = places[start : start + AT_A_TIME]
        found, cosines = atlas.search(vectors[some], min(top + largest, len(places)), allowed)
        for place, others, cosine in zip(some, found, cosines):
            good = (codes[others] != codes[place]) & (others >= 0)
            yield int(place), others[good][:top], cosine[good][:top]


def network(
    atlas: Atlas, top: int, allowed: np.ndarray | None = None, node: str = "id", least: float = -1.0
) -> nx.Graph:
    """Each node joined with its nearest others.

    Args:
        top: others of each row. node: the column that makes a node: `id` for each row its own, another for all rows of
            one value (a protein, a family) together; rows without a value are left out.
        least: cosine that an edge needs.

    Returns:
        A graph; nodes have `interfaces` (how many rows) and the columns in which all their rows agree, edges `weight`
        (the largest cosine) and `mutual` (each is among the nearest of the other).
    """
    names = atlas.column(node)
    allowed = np.array([bool(name) for name in names]) & (True if allowed is None else allowed)
    if not allowed.any():
        raise ConfigError(f"no row has a {node}", "--node")
    graph: Any = nx.Graph()
    columns = {column: atlas.column(column) for column in atlas.columns}
    for place in np.flatnonzero(allowed).tolist():
        name, facts = plain(names[place]), {c: plain(values[place]) for c, values in columns.items()}
        if name not in graph:
            graph.add_node(name, interfaces=1, **facts)
            continue
        known = graph.nodes[name]
        known["interfaces"] += 1
        for column, value in facts.items():
            if known.get(column) != value:
                known[column] = ""
    for place, others, cosines in nearest_others(atlas, top, allowed, node):
        ours = plain(names[place])
        for other, cosine in zip(others, cosines):
            theirs = plain(names[other])
            if cosine < least:
                break
            if not graph.has_edge(ours, theirs):
                graph.add_edge(ours, theirs, weight=float(cosine), mutual=False, by=ours)
                continue
            edge = graph.edges[ours, theirs]
            edge["mutual"] = edge["mutual"] or edge["by"] != ours
            edge["weight"] = max(edge["weight"], float(cosine))
    for *_, edge in graph.edges(data=True):
        del edge["by"]
    return graph


def plain(text: str) -> str:
    """A text without the control characters that XML files can't hold."""
    return text.translate(CONTROL)


class Purity(NamedTuple):
    """How often the nearest rows have the same value in a column.

    Attributes:
        rows: with a value and with others. same: mean share of their nearest that have it, too. chance: the same of
            nearest that are drawn at random. NaN without such rows.
    """

    column: str
    rows: int
    same: float
    chance: float


def purity(
    atlas: Atlas, columns: Sequence[str], top: int = 10, allowed: np.ndarray | None = None, apart: str = "id"
) -> list[Purity]:
    """Purity of the nearest `top` of each row, for some columns; neighbours without a value count as others.

    Args:
        apart: rows with the same value in this column are no neighbours. `chance` leaves them out as well.
    """
    taking_part = np.ones(len(atlas), bool) if allowed is None else allowed
    own = np.array([value or f"\0{n}" for n, value in enumerate(atlas.column(apart))])
    values = {column: np.array(atlas.column(column)) for column in columns}
    shares: dict[str, list[float]] = {column: [] for column in columns}
    for place, others, _ in nearest_others(atlas, top, allowed, apart):
        for column in columns:
            if values[column][place] and len(others):
                shares[column].append(float(np.mean(values[column][others] == values[column][place])))
    result = []
    for column in columns:
        alike = Counter(values[column][taking_part])
        groups = Counter(own[taking_part])
        both = Counter(zip(values[column][taking_part], own[taking_part]))
        total = int(taking_part.sum())
        expected = [
            (alike[value] - n) / (total - groups[group])
            for (value, group), n in both.items()
            for _ in range(n)
            if value and total > groups[group]
        ]
        same = float(np.mean(shares[column])) if shares[column] else float("nan")
        chance = float(np.mean(expected)) if expected else float("nan")
        result.append(Purity(column, len(shares[column]), same, chance))
    return result
