"""Command line of train.py: flags made from the schema, with `--config run.yaml` giving their defaults."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro
import yaml

from configs.command import program
from configs.composition_options import check_model
from configs.errors import ConfigError
from configs.reading import read_text
from configs.schema import RunConfig, from_flat, option_types

DESCRIPTION = """Train a model on molecular interfaces.

--config FILE.yaml gives defaults that flags override. Several processes: torchrun --nproc_per_node N train.py ...
(with --gpus -1 on the CPU). The same command with --restart auto continues an interrupted run.
"""


OURS = Path(__file__).resolve().parent


class _PlainLoader(yaml.SafeLoader):
    """Plain values only. References to earlier values are refused: a few lines of them can stand for terabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it refers to earlier values (*name)")
        return super().compose_node(parent, index)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Flat options of a YAML (or JSON) file; `configs/NAME.yaml` means ours where no such file lies here.

    Raises:
        ConfigError: the file is missing, isn't YAML, or isn't a mapping of option names.
    """
    path = Path(path)
    if not path.exists() and str(path.parent) == OURS.name and (OURS / path.name).is_file():
        path = OURS / path.name  # an installed package has no clone around it
    try:
        text = read_text(path, ConfigError, "max_json_size")
    except ConfigError as refused:
        raise refused.at("--config") from refused
    try:
        content = yaml.load(text, _PlainLoader)  # a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())[:300]
        raise ConfigError(f"is not YAML: {said}", "--config", path) from error
    if not isinstance(content, dict):
        raise ConfigError("must be a mapping of option names to values", "--config", path)
    return content


def given_options(argv: Sequence[str] | None = None) -> frozenset[str]:
    """Names of the options that stand on a command line itself, not in its YAML file."""
    known = {name for names in option_types().values() for name in names}
    found = set()
    for word in sys.argv[1:] if argv is None else argv:
        name = word.removeprefix("--").partition("=")[0].replace("-", "_") if word.startswith("--") else ""
        found.add(name if name in known else name.removeprefix("no_"))
    return frozenset(found & known)


def model_and_task(words: Sequence[str]) -> dict[str, str]:
    """--model and --task of a command line that has --model, for the defaults of other options go by it."""
    reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False, prog="train")
    for name in ("--model", "--task"):
        reader.add_argument(name)
    found = {name: value for name, value in vars(reader.parse_known_args(words)[0]).items() if value is not None}
    if "model" not in found:
        return {}
    check_model(found["model"])
    return found


def parse(argv: Sequence[str] | None = None) -> RunConfig:
    """The run that a command line asks for.

    Raises:
        ConfigError: an unknown key or a bad value in the YAML file.
        SystemExit: status 2 after naming an unknown flag (with the nearest ones) or a bad value; 0 after --help.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, prog="train")
    first.add_argument("--config")
    known, rest = first.parse_known_args(sys.argv[1:] if argv is None else argv)
    options = read_yaml(known.config) if known.config else {}
    options |= model_and_task(rest)
    return tyro.cli(
        RunConfig,
        prog=program("train.py"),
        args=rest,
        default=from_flat(options, known.config or "options") if options else RunConfig(),
        use_underscores=True,
        config=(tyro.conf.OmitArgPrefixes,),
        description=DESCRIPTION,
        console_outputs=int(os.environ.get("RANK", 0)) == 0,
    )
