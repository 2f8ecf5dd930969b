"""The flags of a command, read off the parser that it makes."""

import argparse
import ast
import inspect
import re
import textwrap
from dataclasses import dataclass, is_dataclass
from importlib import import_module
from itertools import pairwise
from typing import Any, Literal, NoReturn, get_args, get_origin
from unittest.mock import patch

from configs.composition_options import MODEL_DEFAULTS
from configs.schema import GROUPS, TASKS, RunConfig, option_types
from scripts.main import COMMANDS

SHORT = 70  # letters of a flag's explanation
FEW = 40  # values, more of which are no help
CHECKED = {"task": TASKS, "model": tuple(MODEL_DEFAULTS)}  # options whose values are checked by hand


@dataclass(frozen=True)
class Flag:
    """names: `--out`, `-o`; none for a positional argument. choices: the values there are, if they are few."""

    names: tuple[str, ...]
    about: str
    takes_value: bool
    choices: tuple[str, ...] = ()


class Made(BaseException):
    """Carries a parser out of a command that was about to use it; no command catches it."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def flags_of(name: str) -> list[Flag]:
    """The flags of one command; none where its module lacks a library that is not installed."""
    if name == "train":
        return [flag for group, kinds in option_types().items() for flag in train_flags(group, kinds)]
    try:
        main = import_module(COMMANDS[name].module).main
    except ImportError:
        return []
    with patch.object(argparse.ArgumentParser, "parse_args", carry_out):
        try:
            main([])
        except Made as carried:
            return [flag_of(action) for action in carried.parser._actions if action.help != argparse.SUPPRESS]
        except SystemExit:
            return []
    return []


def carry_out(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> NoReturn:
    """Stands for `parse_args`."""
    raise Made(parser)


def flag_of(action: argparse.Action) -> Flag:
    """One argument of a parser."""
    words = tuple(word for word in map(str, action.choices or ()) if re.fullmatch(r"[\w.+/-]+", word))
    words = words if len(words) <= FEW else ()
    return Flag(tuple(action.option_strings), in_short(action.help or ""), action.nargs != 0, words)


def train_flags(group: str, kinds: dict[str, Any]) -> list[Flag]:
    """Flags of train.py, whose parser is made of the options' classes."""
    told = told_of(GROUPS[group] if group else RunConfig)
    found = [] if group else [Flag(("--config",), "YAML file with options", True)]
    for name, kind in kinds.items():
        about = in_short(told.get(name, ""))
        if kind is bool:
            found.append(Flag((f"--{name}", f"--no_{name}"), about, False))
        else:
            found.append(Flag((f"--{name}",), about, True, CHECKED.get(name) or words_of(kind)))
    return found


def words_of(kind: Any) -> tuple[str, ...]:
    """The values of a Literal, or of one among others."""
    if get_origin(kind) is Literal:
        return tuple(map(str, get_args(kind)))
    return tuple(word for one in get_args(kind) for word in words_of(one))


def told_of(kind: type) -> dict[str, str]:
    """The texts below the fields of a class and of those it is made from."""
    found: dict[str, str] = {}
    for one in reversed([base for base in kind.__mro__ if is_dataclass(base)]):
        body = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0].body  # type: ignore[attr-defined]
        for field, text in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                found[field.target.id] = str(getattr(text.value, "value", ""))
    return found


def in_short(text: str) -> str:
    """The beginning of a flag's explanation, on one line."""
    words = " ".join(text.replace("%%", "%").split())
    return words if len(words) <= SHORT else words[: SHORT - 3].rpartition(" ")[0] + "..."
