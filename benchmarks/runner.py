"""Measurements in processes of their own, so that each has its own peak of memory; ours and plain in turn."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.tables import Result

ROOT = Path(__file__).resolve().parent.parent
Run = Callable[..., Result]
"""Takes the name and the options of a measurement of `benchmarks.measure`, gives its result."""


def in_own_process(what: str, **options: Any) -> Result:
    """Run one measurement in a process of its own; one that fails or is killed for memory gives {"error": ...}."""
    task = json.dumps({"what": what, **options})
    command = [sys.executable, "-m", "scripts.benchmark", "--child", task]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(".", end="", file=sys.stderr, flush=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["failed"]
        return {"error": "out of memory" if done.returncode < 0 or "memory" in said[-1] else said[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def in_turn(run: Run, ours: dict[str, Any], plain: dict[str, Any] | None) -> tuple[Result, Result]:
    """Ours, plain, ours: the results of both, with the repetitions of ours from before and after the plain one joined.

    Without a plain one, ours is measured once.
    """
    first = run("model", **ours)
    if plain is None:
        return first, {"error": "not run"}
    other = run("model", **plain)
    return merged([first, run("model", **ours)]), other


def merged(results: list[Result]) -> Result:
    """One result of several: all repetitions, the largest peak, and the median of each run as `medians`."""
    for result in results:
        if "error" in result:
            return result
    seconds = [second for result in results for second in result["seconds"]]
    peak = max(result["peak_gib"] for result in results)
    return {**results[0], "seconds": seconds, "peak_gib": peak, "runs": [result["seconds"] for result in results]}
