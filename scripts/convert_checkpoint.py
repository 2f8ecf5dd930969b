"""Convert a checkpoint: published files (config.json, weights.pt) to a folder of ours, or back.

ligare convert --config config.json --weights weights.pt --out_path my_model
ligare convert my_model --to published --out_path for_them

The result is read again and compared before it appears under its name.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from configs.command import command
from configs.errors import CheckpointError, ConfigError
from configs.files import sha256_of
from models.adapters import merge_adapters
from models.persistence import MANIFEST, from_pretrained, load_published, save_pretrained
from models.published import PUBLISHED_CONFIG, PUBLISHED_WEIGHTS, published_state, save_published
from trainers.folders import complete_folder


@command("convert_checkpoint")
def main(argv: Sequence[str] | None = None) -> int:
    """Convert; 0 when the result holds the same weights."""
    options = arguments(argv)
    if options.out_path.exists() and (not options.out_path.is_dir() or any(options.out_path.iterdir())):
        raise ConfigError("exists and is not empty; it would be replaced", "--out_path", options.out_path)
    torch.set_num_threads(1)
    if options.to == "published":
        notes = to_published(options)
    else:
        notes = to_ours(options)
    for note in notes:
        print(f"note: {note}")
    print(f"wrote {options.out_path}")
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "source",
        nargs="?",
        help=f"to ours: a folder with {PUBLISHED_CONFIG} and {PUBLISHED_WEIGHTS}; to published: a folder of ours, or "
        "owner/model on the hub",
    )
    parser.add_argument("--config", type=Path, help="published configuration, in place of a folder")
    parser.add_argument("--weights", type=Path, help="published weights, in place of a folder")
    parser.add_argument("--to", choices=("ours", "published"), default="ours", help="what to write (default ours)")
    parser.add_argument(
        "--padding",
        choices=("own", "batch", "masked"),
        default="own",
        help="padding of the model of ours (docs/model.md)",
    )
    parser.add_argument(
        "--nonlinearity",
        choices=("gelu", "elu"),
        default="gelu",
        help="what a null in the configuration was (default gelu)",
    )
    parser.add_argument("--license", help="licence of the weights, for the model card")
    parser.add_argument("--out_path", type=Path, required=True, help="folder to write; must not exist or be empty")
    return parser.parse_args(argv)


def to_ours(options: argparse.Namespace) -> list[str]:
    """Published files to a folder of ours; says where they came from on the card."""
    config, weights = published_files(options)
    model = load_published(config, weights, options.padding, options.nonlinearity)
    facts: dict[str, Any] = {"converted_from": {path.name: f"sha256 {sha256_of(path)}" for path in (config, weights)}}
    facts |= {"license": options.license} if options.license else {}
    with complete_folder(options.out_path) as temporary:
        save_pretrained(model, temporary, facts)
        same_weights(model.state_dict(), from_pretrained(temporary))
    return []


def to_published(options: argparse.Namespace) -> list[str]:
    """A folder of ours to published files."""
    if not options.source or options.config or options.weights:
        raise ConfigError("to published needs the folder of a model of ours, and nothing else", "source")
    model = merge_adapters(from_pretrained(options.source))
    with complete_folder(options.out_path) as temporary:
        notes = save_published(model, temporary)
        written = load_published(temporary / PUBLISHED_CONFIG, temporary / PUBLISHED_WEIGHTS)
        same_weights(published_state(model)[0], written)
    return notes


def published_files(options: argparse.Namespace) -> tuple[Path, Path]:
    """The two files that the command line names."""
    if options.source and (options.config or options.weights):
        raise ConfigError("give a folder, or --config and --weights", "source")
    if options.source:
        folder = Path(options.source)
        if (folder / MANIFEST).is_file():
            raise ConfigError("is a folder of ours already", folder, hint="--to published turns it into the other form")
        return folder / PUBLISHED_CONFIG, folder / PUBLISHED_WEIGHTS
    if not options.config or not options.weights:
        raise ConfigError("give a folder, or both --config and --weights", "source")
    return options.config, options.weights


def same_weights(expected: Mapping[str, Tensor], model: torch.nn.Module) -> None:
    """Raise a CheckpointError unless the model holds what is expected, tensor by tensor."""
    for name, value in model.state_dict().items():
        if name not in expected or not torch.equal(expected[name], value):
            raise CheckpointError("changed on the way; nothing was written", name)


if __name__ == "__main__":
    sys.exit(main())
