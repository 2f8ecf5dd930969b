"""Command line of train.py: flags made from the schema, with `--config run.yaml` giving their defaults."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import tyro
import yaml

from configs.errors import ConfigError
from configs.schema import RunConfig, from_flat, nearest, option_types

ALIASES = {"gpu": "gpus"}
DESCRIPTION = """Train a model on molecular interfaces.

--config FILE.yaml gives defaults that flags override. Several processes: torchrun --nproc_per_node N train.py ...
(with --gpus -1 on the CPU). The same command with --restart auto continues an interrupted run.
"""


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Flat options of a YAML (or JSON) file.

    Raises:
        ConfigError: the file is missing, isn't YAML, or isn't a mapping of option names.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"can't be read: {error.strerror}", "--config", path) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"is not YAML: {' '.join(str(error).split())}", "--config", path) from error
    if not isinstance(content, dict):
        raise ConfigError("must be a mapping of option names to values", "--config", path)
    return content


def parse(argv: Sequence[str] | None = None) -> RunConfig:
    """The run that a command line asks for.

    Raises:
        ConfigError: an unknown flag or YAML key (with the nearest known one), or a value that makes no sense.
        SystemExit: after --help.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if "-h" in argv or "--help" in argv:
        show_help()
    flags = read_flags(argv)
    config = flags.pop("config", None)
    given = read_yaml(config) if config else {}
    from_flat(given, str(config))  # a fault of the file is reported as such
    return from_flat(given | flags, "command line")


def show_help() -> NoReturn:
    """Print all options with their defaults and leave."""
    tyro.cli(
        RunConfig,
        args=["--help"],
        use_underscores=True,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
        description=DESCRIPTION,
    )
    raise SystemExit(0)


def read_flags(argv: Sequence[str]) -> dict[str, Any]:
    """Flat options of a command line: `--name value`, `--name=value`, `--switch`, `--no_switch`, `--gpus 0 1`.

    Raises:
        ConfigError: an unknown flag, a flag without its value, or a value without a flag.
    """
    types = {name: kind for group in option_types().values() for name, kind in group.items()} | {"config": str}
    flags: dict[str, Any] = {}
    rest = list(argv)
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        name = ALIASES.get(name, name)
        if not flag.startswith("--"):
            raise ConfigError(f"unexpected {flag!r} on the command line", hint="options start with --")
        values = [value] if equals else _take_values(rest)
        switch = name.removeprefix("no_")
        if types.get(switch) is bool and name not in types and not values:
            flags[switch] = False
            continue
        if name not in types:
            raise ConfigError(f"unknown option {flag}", hint=nearest(name, types))
        if not values and types[name] is not bool:
            raise ConfigError("needs a value", flag)
        if len(values) > 1 and name != "gpus":
            raise ConfigError(f"takes one value, got {' '.join(values)!r}", flag)
        one = values[0] if values else True
        flags[name] = values if name == "gpus" else None if one == "None" else one
    return flags


def _take_values(rest: list[str]) -> list[str]:
    """Take the values that follow a flag (a negative number is a value)."""
    values = []
    while rest and not (rest[0].startswith("-") and not re.match(r"-\.?\d", rest[0])):
        values.append(rest.pop(0))
    return values
