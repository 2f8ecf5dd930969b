"""The soaks by name, what they may be told, and what they tell."""

import argparse
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple


@dataclass
class Result:
    """What a soak found.

    Attributes:
        figures: counts and times, by a name that reads well in a report. wrong: broken promises, a sentence each.
    """

    figures: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


@dataclass
class Options:
    """What scripts/soak.py was asked for.

    Attributes:
        folder: for the soak's files, its own. count: how many faults (None: as many as the full soak makes).
        seconds: for soaks that go on for a time (None: as long as the full soak takes). seed: of random choices.
        ranks: processes of a training run.
    """

    folder: Path
    count: int | None = None
    seconds: float | None = None
    seed: int = 0
    ranks: tuple[int, ...] = (1, 2)


Tell = Callable[[int, int, str], None]
"""(done, of how many, what is known so far) for the progress bar."""


class Soak(NamedTuple):
    """A soak: `module` has a function `run(options, tell) -> Result`."""

    module: str
    about: str

    def run(self, options: Options, tell: Tell) -> Result:
        return importlib.import_module(self.module).run(options, tell)


SOAKS: dict[str, Soak] = {
    "kill": Soak("soaks.kill", "kill -9 of training at random and hard moments, on one rank and on two"),
    "fuzz": Soak("soaks.fuzz", "structure, ligand and index files damaged at random, each read in a guarded process"),
    "files": Soak("soaks.damage", "every file of states, checkpoints and data sets cut short, or with bytes changed"),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The flags of `Options`."""
    parser.add_argument("--count", type=int, help="faults to make: kills of each number of ranks, damaged files, ...")
    parser.add_argument("--seconds", type=float, help="time of the soaks that go on for a time, each")
    parser.add_argument("--seed", type=int, default=0, help="of random choices (default 0)")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2], help="processes that train (default: 1 2)")
