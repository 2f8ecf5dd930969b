"""Command line of train.py: flags made from the schema, with `--config run.yaml` giving their defaults."""

import sys
from collections.abc import Sequence
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

import tyro
import yaml

from configs.errors import ConfigError
from configs.schema import RunConfig, from_flat


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
        raise ConfigError(f"is not YAML: {error}", "--config", path) from error
    if not isinstance(content, dict):
        raise ConfigError("must be a mapping of option names to values", "--config", path)
    return content


def parse(argv: Sequence[str] | None = None) -> RunConfig:
    """The run that a command line asks for.

    Raises:
        ConfigError: an option with a value that makes no sense, or an unknown key in the YAML file.
        SystemExit: an unknown flag (status 2, with suggestions) or --help.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    argv, config_path = _take(argv, "--config")
    default = from_flat(read_yaml(config_path), str(config_path)) if config_path else RunConfig()
    run = tyro.cli(
        RunConfig,
        args=argv,
        default=default,
        use_underscores=True,
        config=(tyro.conf.OmitArgPrefixes,),
        description="Train a model on molecular interfaces. --config FILE.yaml gives defaults that flags override.",
    )
    return _revalidate(run)


def _take(argv: list[str], flag: str) -> tuple[list[str], str | None]:
    """Take `flag VALUE` or `flag=VALUE` out of the arguments (the last one counts)."""
    rest: list[str] = []
    value: str | None = None
    arguments = iter(argv)
    for argument in arguments:
        if argument == flag:
            value = next(arguments, None)
            if value is None:
                raise ConfigError("needs a file name", flag)
        elif argument.startswith(flag + "="):
            value = argument.partition("=")[2]
        else:
            rest.append(argument)
    return rest, value


def _revalidate(run: RunConfig) -> RunConfig:
    """Run the checks once more on the merged options."""
    groups = {
        name: replace(value) for name, value in vars(run).items() if is_dataclass(value) and not isinstance(value, type)
    }
    return replace(run, **groups)
