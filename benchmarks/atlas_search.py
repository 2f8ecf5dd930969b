"""Search among many vectors: our atlas, plain numpy, indexes of FAISS, and LanceDB where it is installed.

The vectors are made up: points near a curved surface of eight dimensions, with a little noise, so that neighbours mean
something. Real embeddings may be easier or harder for the indexes that guess; the exact ones take the same time.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.clock import Clock
from benchmarks.runner import Run
from benchmarks.tables import table
from data.atlas import Atlas, Origin, Rows, library
from data.atlas_add import add

Result = dict[str, Any]
QUERIES, TOP, ADDED = 100, 10, 1000
NOTE = """\
Made-up vectors near a curved surface of eight dimensions (`benchmarks/atlas_search.py`); one query at a time, the 10
nearest, on one thread where the program lets us choose. LanceDB (optional) searches on all cores."""


def vectors_near_a_surface(n: int, width: int, seed: int) -> np.ndarray:
    """float32 [n, width] of length 1."""
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(1)
    centres, way = fixed.normal(size=(64, 8)), fixed.normal(size=(8, width))
    points = np.tanh((centres[rng.integers(64, size=n)] + 0.35 * rng.normal(size=(n, 8))) @ way / 2)
    points += 0.02 * rng.normal(size=points.shape)
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def run_atlas(clock: Clock, n: int, width: int) -> Result:
    """Seconds of building, opening, adding and asking, bytes on disk, and the share of the exact neighbours found."""
    base, queries = vectors_near_a_surface(n, width, 0), vectors_near_a_surface(QUERIES, width, 5)
    exact = [set(np.argpartition(-(base @ query), TOP)[:TOP].tolist()) for query in queries]
    found: Result = {}

    def ask(name: str, search: Callable[[np.ndarray], Any], **more: Any) -> None:
        search(queries[0])
        seconds, hits = [], []
        for query, right in zip(queries, exact):
            start = time.perf_counter()
            places = search(query)
            seconds.append(time.perf_counter() - start)
            hits.append(len(right & {int(place) for place in places}) / TOP)
        found[name] = {"ms": (1e3 * np.percentile(seconds, [50, 95])).tolist(), "recall": float(np.mean(hits)), **more}

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours(folder / "atlas", base, ask)
        np.save(folder / "x.npy", base)
        mapped = np.load(folder / "x.npy", mmap_mode="r")

        def plain(query: np.ndarray) -> np.ndarray:
            return np.argpartition(-(mapped @ query), TOP)[:TOP]

        ask("numpy, memory-mapped, exact", plain, build=0.0, disk=(folder / "x.npy").stat().st_size)
        guessing(base, ask)
        lance(folder / "lance", base, ask)
    return found


def ours(folder: Path, base: np.ndarray, ask: Callable[..., None]) -> None:
    """The atlas, with two columns of text."""

    def rows(start: int, vectors: np.ndarray) -> Rows:
        ids = [f"entry{start + n}" for n in range(len(vectors))]
        columns = {"modality": ["PP" if n % 2 else "PL" for n in range(len(ids))], "group": [i[-3:] for i in ids]}
        return Rows(ids, vectors, columns)

    origin = Origin("h_graph", "made up")
    build = seconds_of(lambda: add(folder, origin, rows(0, base)))
    opened = seconds_of(lambda: Atlas(folder))
    atlas, disk = Atlas(folder), sum(path.stat().st_size for path in folder.iterdir())
    half = np.arange(len(base)) % 2 == 0
    ask("atlas (FAISS, flat), exact", lambda q: atlas.search(q[None], TOP)[0][0], build=build, open=opened, disk=disk)
    ask("the same, half of the rows by --where", lambda q: atlas.search(q[None], TOP, half)[0][0], recall=None)
    more = rows(len(base), base[:ADDED])
    spent, after = seconds_of(lambda: add(folder, origin, more)), Atlas(folder)
    ask(f"the same, {ADDED} rows more", lambda q: after.search(q[None], TOP)[0][0], build=spent, recall=None)


def guessing(base: np.ndarray, ask: Callable[..., None]) -> None:
    """Indexes of FAISS that don't compare with every vector."""
    faiss: Any = library()
    for name, kind in (("FAISS, 256 lists, 16 searched", "IVF256,Flat"), ("FAISS, graph (HNSW32)", "HNSW32")):
        index = faiss.index_factory(base.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
        start = time.perf_counter()
        index.train(base)
        index.add(base)
        spent = time.perf_counter() - start
        if hasattr(index, "nprobe"):
            index.nprobe = 16
        disk = len(faiss.serialize_index(index))
        ask(name, lambda q, index=index: index.search(q[None], TOP)[1][0], build=spent, disk=disk)


def lance(folder: Path, base: np.ndarray, ask: Callable[..., None]) -> None:
    """LanceDB without an index (exact); nothing where it is not installed."""
    try:
        import lancedb
    except ImportError:
        return
    import pyarrow as pa

    flat = pa.FixedSizeListArray.from_arrays(pa.array(base.reshape(-1)), base.shape[1])
    rows = pa.table({"place": np.arange(len(base)), "vector": flat})
    start = time.perf_counter()
    made: Any = lancedb.connect(str(folder)).create_table("atlas", rows)
    build = time.perf_counter() - start
    disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    def search(query: np.ndarray) -> Any:
        return made.search(query).distance_type("cosine").limit(TOP).to_arrow()["place"].to_pylist()

    ask("LanceDB without an index, exact", search, build=build, disk=disk)


def seconds_of(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def atlas_section(run: Run, n: int = 100_000, widths: tuple[int, ...] = (32, 256)) -> str:
    """A table for each width."""
    parts = ["## Search in an atlas", NOTE]
    for width in widths:
        found = run("atlas", n=n, width=width, threads=1)
        if "error" in found:
            parts.append(f"{width} numbers: {found['error']}")
            continue
        rows = [row_of(name, one) for name, one in found.items() if name != "peak_gib"]
        header = ["", "query p50, ms", "p95, ms", "recall@10", "build or add, s", "open, s", "disk, MB"]
        parts += [f"### {n:,} vectors of {width} numbers", table(header, rows)]
    return "\n\n".join(parts)


def row_of(name: str, one: Result) -> list[str]:
    half, most = one["ms"]
    build, opened, disk = (one.get(key) for key in ("build", "open", "disk"))
    cells = ["" if build is None else f"{build:.2f}", "" if opened is None else f"{opened:.2f}"]
    cells.append("" if disk is None else f"{disk / 1e6:.0f}")
    recall = "" if one["recall"] is None else f"{one['recall']:.3f}"
    return [name, f"{half:.2f}", f"{most:.2f}", recall, *cells]
