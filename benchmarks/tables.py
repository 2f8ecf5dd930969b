"""Results as markdown: pure functions."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

Result = dict[str, Any]
"""seconds: [repetitions], peak_gib, blocks, atoms, flops; runs: the repetitions by run; or error: why there is none."""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def median(result: Result) -> float:
    """Median of the repetitions, seconds."""
    return statistics.median(result["seconds"])


def time_cell(result: Result) -> str:
    """Median and minimum, or why there is none."""
    if "error" in result:
        return result["error"]
    return f"{figure(median(result))} ({figure(min(result['seconds']))})"


def memory_cell(result: Result) -> str:
    return "" if "error" in result else f"{result['peak_gib']:.2f}"


def figure(value: float) -> str:
    """Three digits, or all those before the point."""
    return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"


def faster(slow: Result, fast: Result) -> str:
    """How many times faster, by medians."""
    return "" if "error" in slow or "error" in fast else f"{figure(median(slow) / median(fast))} x"


def lighter(heavy: Result, light: Result) -> str:
    """How many times less memory."""
    return "" if "error" in heavy or "error" in light else f"{heavy['peak_gib'] / light['peak_gib']:.1f} x"


def drift(result: Result) -> str:
    """Difference of the medians of two runs, one before and one after the other program."""
    runs = result.get("runs", [])
    if len(runs) < 2:
        return ""
    medians = [statistics.median(run) for run in runs]
    return f"{100 * (max(medians) / min(medians) - 1):.0f} %"


def spread(result: Result) -> str:
    """How far the slowest repetition is from the fastest."""
    return "" if "error" in result else f"{100 * (max(result['seconds']) / min(result['seconds']) - 1):.0f} %"


def slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Exponent with which time grows: least squares of log(seconds) over log(sizes)."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def growth(results: Sequence[Result], what: str) -> str:
    """A sentence about how time grows, where there are at least two sizes."""
    sound = [result for result in results if "error" not in result]
    if len(sound) < 2:
        return ""
    blocks = [result["blocks"] for result in sound]
    exponent = slope(blocks, [median(result) for result in sound])
    return f"{what} grows as blocks to the power {exponent:.2f} from {blocks[0]:,} to {blocks[-1]:,} blocks."


def model_table(pairs: Sequence[tuple[Result, Result]]) -> str:
    """Ours and plain at several sizes."""
    header = "blocks|atoms|plain, s|ours, s|faster|plain, GiB|ours, GiB|less|repetitions|drift".split("|")
    rows = []
    for ours, plain in pairs:
        rows.append(
            [
                *(f"{ours[name]:,}" if name in ours else "" for name in ("blocks", "atoms")),
                *(time_cell(plain), time_cell(ours), faster(plain, ours)),
                *(memory_cell(plain), memory_cell(ours), lighter(plain, ours)),
                *(spread(ours), drift(ours)),
            ]
        )
    return table(header, rows)


def variant_table(results: Sequence[tuple[str, dict[str, Result]]]) -> str:
    """Variants of ours beside each other: times, and how much faster than the first one.

    Args:
        results: label of a row, and variant -> result.
    """
    names = list(results[0][1])
    first = names[0]
    header = ["", f"{first}, s", f"{first}, GiB"]
    header += [text for name in names[1:] for text in (f"{name}, s", "faster", f"{name}, GiB")]
    rows = []
    for label, found in results:
        row = [label, time_cell(found[first]), memory_cell(found[first])]
        for name in names[1:]:
            row += [time_cell(found[name]), faster(found[first], found[name]), memory_cell(found[name])]
        rows.append(row)
    return table(header, rows)


def arithmetic_table(results: Sequence[tuple[str, Result]], peaks: dict[str, float]) -> str:
    """Useful operations, their rate, and its share of the peaks.

    Args:
        results: label and result. peaks: precision -> operations a second.
    """
    header = ["", "operations needed", "rate", *(f"of the {name} peak" for name in peaks)]
    rows = []
    for label, result in results:
        if "error" in result or not result.get("flops"):
            continue
        rate = result["flops"] / median(result)
        shares = [f"{100 * rate / peak:.0f} %" for peak in peaks.values()]
        rows.append([label, f"{figure(result['flops'] / 1e9)} GFLOP", f"{figure(rate / 1e9)} GFLOP/s", *shares])
    return table(header, rows)


def device_table(results: Sequence[tuple[str, Result]], peaks: dict[str, float]) -> str:
    """Times on a GPU with the shares of its peaks.

    Args:
        peaks: float32, bfloat16 (operations a second) and copy (bytes a second).
    """
    header = ["", "blocks", "ms", "GiB", "TFLOP/s", "of float32 peak", "of bfloat16 peak", "GB/s", "of bandwidth"]
    rows = []
    for label, result in results:
        if "error" in result:
            rows.append([label, "", result["error"], *[""] * 6])
            continue
        rate, moved = result.get("flops", 0) / median(result), result["traffic"] / median(result)
        shares = [f"{100 * rate / peaks[name]:.0f} %" if rate else "" for name in ("float32", "bfloat16")]
        rows.append(
            [
                *(label, f"{result['blocks']:,}", f"{figure(1e3 * median(result))}", memory_cell(result)),
                *(f"{rate / 1e12:.2f}" if rate else "", *shares),
                *(figure(moved / 1e9), f"{100 * moved / peaks['copy']:.0f} %"),
            ]
        )
    return table(header, rows)


def profile_table(result: Result) -> str:
    """Shares of a step by group."""
    total = sum(result["groups"].values())
    rows = [
        [name, f"{100 * seconds / total:.1f} %", f"{figure(median(result) * seconds / total)} s"]
        for name, seconds in result["groups"].items()
        if seconds
    ]
    return table(["work", "share", "of a step"], rows)


def loading_table(result: Result, reference: float) -> str:
    """Blocks a second of each stage of ours, and of the plain way.

    Args:
        reference: blocks a second of the public reference.
    """
    rates = {name: [result["blocks"] / second for second in seconds] for name, seconds in result["seconds"].items()}
    best = {name: statistics.median(values) for name, values in rates.items()}
    rows = [
        ["ours: read from shards", f"{best['read']:,.0f}", "", ""],
        ["ours: read, crop, noise, mask", f"{best['noised']:,.0f}", "", ""],
        [
            "ours: read, crop, noise, mask, collate",
            f"{best['collated']:,.0f}",
            f"{figure(best['collated'] / best['plain'])} x",
            f"{figure(best['collated'] / reference)} x",
        ],
        ["plain: crop, noise, mask, collate", f"{best['plain']:,.0f}", "1 x", f"{figure(best['plain'] / reference)} x"],
    ]
    return table(["", "blocks a second", "times plain", "times the reference"], rows)


def structure_table(files: Sequence[dict[str, Any]]) -> str:
    """Best seconds of each file, ours and plain."""
    rows = []
    for file in files:
        ours, plain = min(file["ours"]), min(file["plain"])
        rows.append(
            [file["id"], f"{file['atoms']:,}", *(f"{1e3 * s:.1f}" for s in (plain, ours)), f"{plain / ours:.1f} x"]
        )
    totals = [sum(min(file[name]) for file in files) for name in ("plain", "ours")]
    ratio = f"{totals[0] / totals[1]:.1f} x" if files else ""
    rows.append(["all", "", *(f"{1e3 * s:.1f}" for s in totals), ratio])
    return table(["interface", "its atoms", "plain, ms", "ours, ms", "faster"], rows)
