"""Search, network and map of many interfaces by their vectors.

    ligare atlas build  shards --checkpoint MODEL --atlas atlas       (or vectors.parquet of ligare embed; again: adds)
    ligare atlas query  1abc.pdb --chain1 A --chain2 B --checkpoint MODEL --atlas atlas --top 10 --where modality=PP
    ligare atlas query  --id 1abc_01 --atlas atlas --out nearest.csv
    ligare atlas network --atlas atlas --where modality=PP --top 5 --out network      (network.graphml, network.html)
    ligare atlas map    --atlas atlas --color modality --out map                      (map.png, map.html, map.csv)
    ligare atlas purity --atlas atlas --columns modality group

An atlas is a folder; docs/atlas.md tells what is in it. Exit status: 0; 2 when the input or an option is at fault.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
from tqdm import tqdm

from configs.command import command
from configs.errors import ConfigError, DataError
from configs.files import atomic_file
from configs.options import at_least
from configs.words import count_of
from data.atlas import LIST, Atlas, Origin, Rows
from data.atlas_add import KNOWN, add
from data.atlas_filter import allowed_by
from data.atlas_map import METHODS, flattened
from data.atlas_network import network, purity
from data.atlas_tables import read_embeddings, rows_of, tables_among
from data.inputs import Inputs, add_input_arguments, input_options, open_inputs
from data.write_table import format_of, nothing_made, open_table, tell_failures
from models.embed import MAX_BLOCKS, embed_items
from models.fingerprint import fingerprint
from models.load_any import add_model_arguments, load_model, model_options
from models.named import REPRESENTATIONS, RULES, Wanted, backbone_of, level_of
from scripts.atlas_pages import Colouring, hover_text, map_page, map_picture, network_page

LEVELS = ("graph", "interface")
MOST_NODES = 5000  # of a page


@command("atlas")
def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    act: Callable[[argparse.Namespace], int] = options.act
    return act(options)


def build(options: argparse.Namespace) -> int:
    """Make an atlas, or add to it."""
    given = input_options(options)
    tables = tables_among(given.input) if isinstance(given.input, str) and Path(given.input).exists() else []
    name = options.representation
    if tables:
        rows, origin = of_tables(tables, options)
        failures: list[Any] = []
    else:
        model = load_model(model_options(options))
        origin = Origin(name or "h_graph", fingerprint(model), options.rule or "")
        if (options.atlas / LIST).exists():
            Atlas(options.atlas).check(origin)  # before the work
        inputs = open_inputs(given, backbone_of(model).config.fragmentation_method)
        found = list(embedded(model, inputs, origin, options.max_blocks))
        if not found:
            raise nothing_made(inputs.failures, given.input)
        rows, failures = Rows.joined(found), inputs.failures
    atlas, written = add(options.atlas, origin, rows, options.known)
    told = f"{len(atlas):,} of {origin.representation}, {atlas.width} numbers each"
    print(f"{count_of(written, 'row')} added to {options.atlas}: {told}")
    if told := tell_failures(Path(options.atlas) / "build", failures):
        print(told, file=sys.stderr)
    return 0


def of_tables(tables: Sequence[Path], options: argparse.Namespace) -> tuple[Rows, Origin]:
    """The rows of tables of embeddings, all of one origin."""
    named = None
    if options.checkpoint or options.config:
        made = fingerprint(load_model(model_options(options)))
        named = Origin(options.representation or "h_graph", made, options.rule or "")
    read = [(path, *read_embeddings(path, options.representation, named)) for path in tables]
    first = read[0][2]
    for path, rows, origin in read:
        if origin != first or rows.vectors.shape[1] != read[0][1].vectors.shape[1]:
            raise DataError(f"holds vectors of another model or kind than {tables[0].name}", path)
        if named is not None and origin.fingerprint != named.fingerprint:
            raise DataError("was not made by the model that --checkpoint names", path)
    return Rows.joined([rows for _, rows, _ in read]), first


def embedded(model: Any, inputs: Inputs, origin: Origin, max_blocks: int) -> Iterator[Rows]:
    """Rows of an input, a batch at a time."""
    name = origin.representation
    wanted, level = Wanted((name,), origin.rule or None), level_of(name)  # type: ignore[arg-type]
    if level not in LEVELS:
        raise ConfigError(
            f"{name} are vectors of {level}s", "--representation", hint="an atlas is of complexes or sides"
        )
    progress = tqdm(inputs, desc="interfaces", total=inputs.total, disable=not sys.stderr.isatty())
    for found in embed_items(model, progress, wanted, max_blocks):
        columns = found.table(level, inputs.vocabulary)
        yield rows_of({key: values for key, values in columns.items() if key != name}, columns[name])


def query(options: argparse.Namespace) -> int:
    """The nearest rows to some of the atlas, or to those of an input."""
    at_least(options, 1, "top")
    if options.out:
        format_of(options.out, ".csv")
    if bool(options.id) == bool(options.data or options.input):
        raise ConfigError("name an input, or rows of the atlas by --id", "query")
    atlas = Atlas(options.atlas)
    allowed = allowed_by(atlas, options.where)
    failures: list[Any] = []
    if options.id:
        places = [atlas.place_of(name) for name in options.id]
        columns = {name: [atlas.facts(place)[name] for place in places] for name in atlas.columns}
        asked = Rows(list(options.id), atlas.vectors(places), columns)
    else:
        model = load_model(model_options(options))
        atlas.check(Origin(atlas.origin.representation, fingerprint(model), atlas.origin.rule))
        given = input_options(options)
        inputs = open_inputs(given, backbone_of(model).config.fragmentation_method)
        found = list(embedded(model, inputs, atlas.origin, options.max_blocks))
        failures = inputs.failures
        if not found:
            raise nothing_made(failures, given.input)
        asked = Rows.joined(found)
    columns = nearest_table(atlas, asked, options.top, allowed, options.apart)
    show(columns, options.out)
    if options.out and (told := tell_failures(options.out, failures)):
        print(told, file=sys.stderr)
    return 0


def nearest_table(
    atlas: Atlas, asked: Rows, top: int, allowed: np.ndarray | None, apart: Sequence[str] = ()
) -> dict[str, list[Any]]:
    """A row for each neighbour of each query: query, rank, id, similarity, and all that the atlas knows of it.

    Args:
        apart: columns; a row with the same value there as the query is no neighbour. Nor is the query itself.
    """
    values = {column: np.array(atlas.column(column)) for column in apart}
    names = [name for name in atlas.columns if name not in ("query", "rank", "similarity")]
    table: dict[str, list[Any]] = {name: [] for name in ("query", "rank", "id", "similarity", *names)}
    for number, name in enumerate(asked.ids):
        mine = np.ones(len(atlas), bool) if allowed is None else allowed.copy()
        if name in atlas.places:
            mine[atlas.places[name]] = False
        for column in apart:
            own = asked.columns.get(column, [""] * len(asked))[number]
            mine &= (values[column] != own) | (own == "")
        places, cosines = atlas.search(asked.vectors[number : number + 1], top, mine)
        for rank, (place, cosine) in enumerate(zip(places[0], cosines[0]), start=1):
            if place < 0:
                break
            facts = atlas.facts(int(place))
            row = {"query": name, "rank": rank, "id": atlas.ids[place], "similarity": round(float(cosine), 6)}
            for key, value in (row | {key: facts[key] for key in names}).items():
                table[key].append(value)
    return table


def show(columns: dict[str, list[Any]], out: Path | None) -> None:
    """Write a table, or print it."""
    n = len(columns["id"])
    if out is None:
        import pandas as pd

        print(pd.DataFrame(columns).to_string(index=False, max_colwidth=40) if n else "no neighbours")
        return
    with open_table(out, ".csv") as writer:
        writer.write(columns)
    print(f"{count_of(n, 'neighbour')} in {out}")


def draw_network(options: argparse.Namespace) -> int:
    """The nearest of each row as a graph."""
    at_least(options, 1, "top")
    atlas = Atlas(options.atlas)
    colour = options.color or ("modality" if "modality" in atlas.columns else options.node)
    atlas.column(colour)
    graph = network(atlas, options.top, allowed_by(atlas, options.where), options.node, options.least)
    if len(graph) > MOST_NODES and not options.no_page:
        hint = "--where chooses some, --node puts rows together, --no_page writes GraphML alone"
        raise ConfigError(f"{len(graph)} nodes are too many for a page (up to {MOST_NODES})", "network", hint=hint)
    title = f"{count_of(len(graph), 'node')}, each with its {options.top} nearest"
    if not options.no_page:
        network_page(graph, colour, title, named(options.out, ".html"), options.seed)
    with atomic_file(named(options.out, ".graphml")) as path:
        nx.write_graphml(graph, path)
    pieces = nx.number_connected_components(graph)
    parts = {"node": len(graph), "edge": graph.number_of_edges(), "component": pieces}
    told = ", ".join(count_of(number, name) for name, number in parts.items())
    print(f"{told} in {named(options.out, '.graphml')}")
    return 0


def draw_map(options: argparse.Namespace) -> int:
    """Places of the rows in the plane."""
    at_least(options, 2, "neighbours")
    atlas = Atlas(options.atlas)
    allowed = allowed_by(atlas, options.where)
    places = np.arange(len(atlas)) if allowed is None else np.flatnonzero(allowed)
    colour = options.color or ("modality" if "modality" in atlas.columns else "id")
    values = [atlas.column(colour)[place] for place in places]
    flat = flattened(atlas.vectors(places), options.method, options.neighbours, options.seed)
    columns = {name: atlas.column(name) for name in atlas.columns}
    known = {name: [values[place] for place in places] for name, values in columns.items()}
    ids = [atlas.ids[place] for place in places]
    texts = [hover_text(name, {key: known[key][n] for key in known}) for n, name in enumerate(ids)]
    title = f"{count_of(len(ids), 'interface')} by {atlas.origin.representation} ({options.method})"
    map_picture(flat, Colouring(colour, values), title, named(options.out, ".png"))
    map_page(flat, Colouring(colour, values), texts, title, named(options.out, ".html"))
    with open_table(named(options.out, ".csv")) as writer:
        writer.write({"id": ids, "map_x": flat[:, 0], "map_y": flat[:, 1], **known})
    print(
        f"{count_of(len(ids), 'row')} in {', '.join(str(named(options.out, end)) for end in ('.png', '.html', '.csv'))}"
    )
    return 0


def tell_purity(options: argparse.Namespace) -> int:
    """How often neighbours are of one kind."""
    at_least(options, 1, "top")
    atlas = Atlas(options.atlas)
    found = purity(atlas, options.columns, options.top, allowed_by(atlas, options.where), options.apart)
    print(f"| column | rows | same among the {options.top} nearest | by chance |\n| --- | --- | --- | --- |")
    for one in found:
        print(f"| {one.column} | {one.rows:,} | {percent(one.same)} | {percent(one.chance)} |")
    return 0


def percent(share: float) -> str:
    """A share in words; - where there is none (NaN)."""
    return f"{100 * share:.1f} %" if share == share else "-"


def named(out: Path, ending: str) -> Path:
    """A file of an output that has several: the name without its own ending, if it has one of theirs."""
    plain = out.with_suffix("") if out.suffix.lower() in (".png", ".html", ".csv", ".graphml") else out
    return plain.with_name(plain.name + ending)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(required=True, metavar="ACTION", title="actions (ACTION --help tells the options)")

    def action(name: str, act: Callable[[argparse.Namespace], int], about: str) -> argparse.ArgumentParser:
        made = actions.add_parser(name, help=about, description=about)
        made.set_defaults(act=act)
        made.add_argument("--atlas", type=Path, required=True, metavar="FOLDER", help="the atlas")
        return made

    make = action("build", build, "make an atlas of embeddings or of structures, or add to it")
    ask = action("query", query, "the nearest interfaces to those of a structure, or to some of the atlas")
    net = action("network", draw_network, "each row with its nearest ones: GraphML and a page")
    draw = action("map", draw_map, "all rows in the plane: picture, page and table")
    pure = action("purity", tell_purity, "how often the nearest rows have the same value in a column")
    for parser_ in (make, ask):
        add_input_arguments(parser_)
        add_model_arguments(parser_)
        parser_.add_argument("--max_blocks", type=int, default=MAX_BLOCKS, help=f"at a time (default {MAX_BLOCKS})")
    make.add_argument(
        "--representation", choices=[n for n in REPRESENTATIONS if level_of(n) in LEVELS], help="(h_graph)"
    )
    make.add_argument("--rule", choices=RULES, help="how blocks make z_graph and z_interface")
    make.add_argument("--known", choices=KNOWN, default="refuse", help="what to do with ids that are there already")
    ask.add_argument("--id", nargs="+", help="rows of the atlas, in place of an input")
    ask.add_argument("--out", type=Path, help="table to write: .csv or .parquet (default: printed)")
    ask.add_argument(
        "--apart", nargs="+", default=[], metavar="COLUMN", help="leave out rows with the query's value there"
    )
    net.add_argument(
        "--node", default="id", metavar="COLUMN", help="rows with the same value are one node (default id)"
    )
    net.add_argument("--least", type=float, default=-1.0, help="cosine that an edge needs")
    net.add_argument("--no_page", action="store_true", help="GraphML alone")
    draw.add_argument("--method", choices=METHODS, default="umap", help="(default umap)")
    draw.add_argument("--neighbours", type=int, default=15, help="of umap; the perplexity of tsne (default 15)")
    pure.add_argument("--columns", nargs="+", required=True, help="the columns")
    pure.add_argument("--apart", default="id", metavar="COLUMN", help="rows with the same value are no neighbours")
    for parser_, top in ((ask, 10), (net, 5), (pure, 10)):
        parser_.add_argument("--top", type=int, default=top, help=f"neighbours of each (default {top})")
    for parser_ in (ask, net, draw, pure):
        what = "only rows with this; several hold together (modality=PP, label>=5)"
        parser_.add_argument("--where", nargs="+", default=[], metavar="COLUMN=VALUE", help=what)
    for parser_ in (net, draw):
        parser_.add_argument("--color", metavar="COLUMN", help="(default modality)")
        parser_.add_argument("--seed", type=int, default=0, help="of the places (default 0)")
        parser_.add_argument("--out", type=Path, required=True, help="name of the files, without an ending")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
