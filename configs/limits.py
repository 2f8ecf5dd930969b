"""How much an input may claim: limits of sizes, as flags of the commands that read and in the environment.

The limits protect against files that are broken or made to do harm; all are far above what honest input needs. A
command sets them from its flags; processes that it starts inherit them, since they travel in the environment.
"""

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from configs.errors import ConfigError, LigareError

PREFIX = "LIGARE_"
TITLE = "limits of what is read"
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True)
class Limits:
    """Limits of what is read. Sizes are bytes; K, M, G and T behind a number multiply it."""

    max_file_size: int = 8 * 2**30
    """Bytes of a file that is read as a whole (structure, ligand, table, pickle)."""
    max_unpacked_size: int = 2 * 2**30
    """Bytes that a compressed file may unpack to."""
    max_atoms: int = 10_000_000
    """Atoms of a structure, all models together."""
    max_json_size: int = 64 * 2**20
    """Bytes of a JSON or YAML file."""
    max_weights_size: int = 16 * 2**30
    """Bytes of a file with weights, and of what it unpacks to."""
    max_parameters: int = 4 * 2**30
    """Numbers that a model may be made of, by its configuration."""
    allow_outside_root: bool = False
    """Rows of an index may name files outside the root folder (absolute paths, `..`, links)."""


def limits() -> Limits:
    """The limits in force: the defaults, changed by LIGARE_MAX_ATOMS and the like in the environment.

    Raises:
        ConfigError: a variable that holds no positive number; names it.
    """
    given = {f.name: os.environ.get(PREFIX + f.name.upper()) for f in fields(Limits)}
    return Limits(**{name: _value(name, text) for name, text in given.items() if text})


def _value(name: str, text: str) -> Any:
    if isinstance(getattr(Limits, name), bool):
        if text.lower() not in ("0", "1", "true", "false"):
            raise ConfigError(f"must be true or false, got {text!r}", PREFIX + name.upper())
        return text.lower() in ("1", "true")
    try:
        return size(text)
    except argparse.ArgumentTypeError as wrong:
        raise ConfigError(str(wrong), PREFIX + name.upper()) from None


def size(text: str) -> int:
    """A positive number with an optional K, M, G or T: 500M."""
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].upper() in UNITS else (text, "")
    if not (number.isdecimal() and len(number) < 19 and int(number) > 0):
        raise argparse.ArgumentTypeError(f"must be a positive number (K, M, G or T may follow), got {text!r}")
    return int(number) * UNITS.get(unit, 1)


def add_limit_flags(parser: argparse.ArgumentParser, *names: str) -> None:
    """Give a command the flags of some limits; called again, it adds to the same group of the help."""
    group = next((group for group in parser._action_groups if group.title == TITLE), None)
    group = group or parser.add_argument_group(
        TITLE, "what an input may claim (also: LIGARE_MAX_ATOMS=... and the like)"
    )
    for name, told in _TOLD.items():
        if name not in names:
            continue
        if isinstance(getattr(Limits, name), bool):
            group.add_argument(f"--{name}", action="store_true", default=None, help=told)
        else:
            group.add_argument(
                f"--{name}", type=size, metavar="N", help=f"{told} (default {_short(getattr(Limits, name))})"
            )


def use_limits(options: argparse.Namespace) -> None:
    """Put the limits that were given as flags in force, in this process and those that it starts."""
    for name in _TOLD:
        value = getattr(options, name, None)
        if value is not None:
            os.environ[PREFIX + name.upper()] = str(value)


def given_limits() -> dict[str, str]:
    """The limits that differ from the defaults, for a process that was started before they were set."""
    names = (PREFIX + f.name.upper() for f in fields(Limits))
    return {name: os.environ[name] for name in names if name in os.environ}


def adopt_limits(given: Mapping[str, str]) -> None:
    """Put those limits in force, and the defaults for all others."""
    for f in fields(Limits):
        os.environ.pop(PREFIX + f.name.upper(), None)
    os.environ.update(given)


def beyond(option: str) -> str:
    """The hint of an error about a limit: how to raise it."""
    return f"if that is right, raise --{option} or {PREFIX}{option.upper()} in the environment"


def check_limit(what: str, value: int, option: str, error: type[LigareError], *where: Any) -> None:
    """Raise `error` when `value` is above a limit. what: the error's words, with {} for the value."""
    most = getattr(limits(), option)
    if value > most:
        raise error(f"{what.format(value)}, more than the limit of {most}", *where, hint=beyond(option))


def _short(value: int) -> str:
    unit = next((unit for unit in "TGMK" if value % UNITS[unit] == 0), "")
    return f"{value // UNITS.get(unit, 1)}{unit}"


_TOLD = {
    "max_file_size": "bytes of a file that is read as a whole",
    "max_unpacked_size": "bytes that a compressed file may unpack to",
    "max_atoms": "atoms of a structure, all models together",
    "max_json_size": "bytes of a JSON or YAML file",
    "max_weights_size": "bytes of a file with weights, and of what it unpacks to",
    "max_parameters": "numbers that a model may be made of, by its configuration",
    "allow_outside_root": "rows may name files outside --root (absolute paths, .., links)",
}
