"""Pictures of an atlas: a map and a network, as PNG and as pages that need nothing from a network."""

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np

from configs.errors import ConfigError
from configs.files import atomic_file, atomic_write
from data.atlas import INSTALL
from data.atlas_filter import number
from scripts.html_head import PICTURES, SCRIPTS, STYLES, head

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

COLOURS = ("#1f77b4 #ff7f0e #2ca02c #d62728 #9467bd #8c564b #e377c2 #bcbd22 #17becf #393b79 #637939 #843c39").split()
NO_VALUE, OTHERS = "(none)", "(others)"
GREYS = {OTHERS: "#b8b8b8", NO_VALUE: "#e2e2e2"}
FEW_VALUES = 12  # numbers that take no more values than that are kinds
DRAWN_ONE_BY_ONE = 4000  # points; more are drawn on the graphics card
LONGEST_TEXT = 60  # characters of a value in a hover box
PLOTLY = f"{SCRIPTS} 'unsafe-eval'"
CONFIG = {"displaylogo": False, "responsive": True, "scrollZoom": True}


class Colouring:
    """Values of a column as colours: numbers on a scale, other values as the most frequent kinds and the rest.

    Attributes:
        numbers: float [rows], NaN where there is none; None for kinds. kinds: kind -> the rows of it and its colour.
    """

    def __init__(self, name: str, values: Sequence[str]) -> None:
        self.name = name
        found = [number(value) for value in values]
        numeric = all(one is not None for one, value in zip(found, values) if value) and any(values)
        self.numbers: np.ndarray | None = None
        self.kinds: dict[str, tuple[np.ndarray, str]] = {}
        if numeric and len(set(values)) > FEW_VALUES:
            self.numbers = np.array([np.nan if one is None else one for one in found])
            return
        named = [value or NO_VALUE for value in values]
        often = [value for value, _ in Counter(named).most_common() if value != NO_VALUE][: len(COLOURS)]
        kinds = np.array([value if value in often or value == NO_VALUE else OTHERS for value in named])
        for kind, colour in [*GREYS.items(), *zip(often, COLOURS)]:
            rows = np.flatnonzero(kinds == kind)
            if len(rows):
                self.kinds[kind] = (rows, colour)


def map_picture(places: np.ndarray, colouring: Colouring, title: str, out: Path) -> None:
    """The map as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 7), layout="constrained")
    size = float(np.clip(2e4 / len(places), 2, 24))
    if colouring.numbers is not None:
        drawn = axes.scatter(
            places[:, 0], places[:, 1], c=colouring.numbers, s=size, cmap="viridis", linewidths=0, plotnonfinite=True
        )
        figure.colorbar(drawn, label=colouring.name)
    else:
        for kind, (rows, colour) in colouring.kinds.items():
            axes.scatter(
                places[rows, 0], places[rows, 1], color=colour, s=size, linewidths=0, label=f"{kind} ({len(rows):,})"
            )
        axes.legend(title=colouring.name, loc="center left", bbox_to_anchor=(1, 0.5), markerscale=2, frameon=False)
    axes.set(title=title, xticks=[], yticks=[])
    with atomic_file(out) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
    plt.close(figure)


def map_page(places: np.ndarray, colouring: Colouring, texts: Sequence[str], title: str, out: Path) -> None:
    """The map as a page, with what is known of each row under the pointer."""
    figure = page_figure(title)
    add_points(figure, places, colouring, texts)
    write_page(figure, title, out)


def network_page(graph: nx.Graph, colour: str, title: str, out: Path, seed: int = 0) -> None:
    """A network as a page; near nodes lie together, by the weights of their edges."""
    figure, names = page_figure(title), list(graph)
    found: Any = nx.spring_layout(graph, seed=seed, iterations=80, method="force")
    places = np.array([found[name] for name in names])
    for mutual, shade in ((False, "#dddddd"), (True, "#999999")):
        x: list[Any] = []
        y: list[Any] = []
        for a, b in [(a, b) for a, b, edge in graph.edges(data=True) if edge["mutual"] is mutual]:
            x += [found[a][0], found[b][0], None]
            y += [found[a][1], found[b][1], None]
        label = "nearest of each other" if mutual else "nearest of one"
        figure.add_scatter(
            x=x, y=y, mode="lines", line={"width": 0.7, "color": shade}, hoverinfo="skip", name=label, **group("edges")
        )
    facts = [graph.nodes[name] for name in names]
    values = [name if colour == "id" else str(known.get(colour, "")) for name, known in zip(names, facts)]
    texts = [hover_text(name, known, graph.degree(name)) for name, known in zip(names, facts)]
    sizes = np.array([6 + min(18, 3 * (known["interfaces"] - 1) ** 0.5) for known in facts])
    add_points(figure, places, Colouring(colour, values), texts, sizes)
    write_page(figure, title, out)


def hover_text(name: str, facts: Mapping[str, Any], neighbours: int | None = None) -> str:
    """What a hover box tells of a row, as the HTML that plotly understands, with all of a file's own text escaped."""
    lines = [f"<b>{html.escape(name)}</b>"]
    if neighbours is not None:
        lines.append(f"{neighbours} neighbours")
    for key, value in facts.items():
        text = str(value)
        if text and text != name:
            short = text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + " ..."
            lines.append(f"{html.escape(key)}: {html.escape(short)}")
    return "<br>".join(lines)


def page_figure(title: str) -> "Figure":
    """An empty figure; ConfigError when plotly is not installed."""
    try:
        import plotly.graph_objects as go
    except ImportError as absent:
        raise ConfigError("pages need plotly, which is not installed", hint=INSTALL) from absent
    figure = go.Figure()
    figure.update_layout(
        title=html.escape(title),
        template="plotly_white",
        hovermode="closest",
        dragmode="pan",
        legend={"itemsizing": "constant", "groupclick": "toggleitem"},
        margin={"l": 10, "r": 10, "t": 50, "b": 10},
    )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False, scaleanchor="x")
    return figure


def group(title: str) -> dict[str, Any]:
    """The part of the legend that something belongs to."""
    return {"legendgroup": title, "legendgrouptitle": {"text": html.escape(title)}}


def add_points(
    figure: "Figure", places: np.ndarray, colouring: Colouring, texts: Sequence[str], sizes: np.ndarray | None = None
) -> None:
    """Points with colours and hover boxes. sizes: [points] in pixels, where they differ."""
    add = figure.add_scatter if sizes is not None or len(places) <= DRAWN_ONE_BY_ONE else figure.add_scattergl
    sizes = np.full(len(places), 6.0) if sizes is None else sizes
    common = {"mode": "markers", "hovertemplate": "%{text}<extra></extra>", **group(colouring.name)}
    if colouring.numbers is not None:
        shown = [None if np.isnan(one) else float(one) for one in colouring.numbers]
        bar = {"title": html.escape(colouring.name)}
        marker: dict[str, Any] = {
            "size": 6,
            "color": shown,
            "colorscale": "Viridis",
            "colorbar": bar,
            "showscale": True,
        }
        add(
            x=places[:, 0].tolist(),
            y=places[:, 1].tolist(),
            text=list(texts),
            marker=marker,
            showlegend=False,
            **common,
        )
        return
    for kind, (rows, colour) in colouring.kinds.items():
        x, y = places[rows].T.tolist()
        label = f"{html.escape(kind[:LONGEST_TEXT])} ({len(rows):,})"
        text = [texts[row] for row in rows]
        marker = {"size": sizes[rows].tolist(), "color": colour, "line": {"width": 0}}
        add(x=x, y=y, text=text, marker=marker, name=label, **common)


def write_page(figure: "Figure", title: str, out: Path) -> None:
    """One file with the data and the program that shows them; its policy lets it fetch nothing."""
    body = figure.to_html(full_html=False, include_plotlyjs=True, config=CONFIG, default_height="98vh")
    top = head(title, PLOTLY, STYLES, f"{PICTURES} blob:")
    text = f'<html lang="en">\n<head>\n{top}\n</head>\n<body style="margin:0">\n{body}\n</body>\n</html>\n'
    atomic_write(out, f"<!doctype html>\n{text}")
