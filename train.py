"""Train a model: parse -> seed -> create_model -> loaders -> create_trainer -> train.

python train.py --config configs/pretrain_small.yaml --train_set shards/train --valid_set shards/valid --save_dir runs
torchrun --nproc_per_node 2 train.py ... --gpus 0 1
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

# Before CUDA starts: the allocator then copes with batches of changing size. A user's own setting stays.
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")

from torch import nn

from configs.cli import parse
from configs.command import command
from configs.errors import ConfigError
from configs.files import sha256_of
from configs.schema import RunConfig, StartOptions
from data.loader import make_loaders
from data.vocab import load_vocabulary
from models import create_model
from models.adapters import merge_adapters
from models.persistence import LoadReport, from_pretrained, load_published, load_weights_into
from trainers import TrainConfig, create_trainer
from trainers.distributed import choose_device, from_main, is_main, process_group, rank, say, world_size
from trainers.finetune import prepare_finetune
from trainers.rng import seed_everything
from trainers.training_state import TrainingState, find_restart, read_state

__all__ = ["create_trainer", "main", "train"]


@command("train", interrupted="interrupted; the same command with --restart auto continues")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    run = parse(argv)
    check_required(run)
    with process_group(choose_device(run.gpus, run.local_rank)):
        train(run)
    return 0


def check_required(run: RunConfig) -> None:
    """Raise a ConfigError for what can't be left out."""
    if not run.data.train_set:
        raise ConfigError("is required", "--train_set", hint="a folder of shards, made by scripts/process_pdbs.py")
    if not run.train.save_dir:
        raise ConfigError("is required", "--save_dir", hint="the folder that gets version_0, version_1, ...")


def train(run: RunConfig) -> None:
    """Train what the options say, on this rank."""
    state = state_to_resume(run)
    seed_everything(run.train.seed, deterministic=run.train.deterministic)  # the same initial weights on all ranks
    vocabulary = load_vocabulary(run.encoder.fragmentation_method)
    model = create_model(run, vocabulary)
    loaded = start_from(model, run.start) if state is None else None
    if loaded is not None:
        say(f"started from {run.start.pretrain_ckpt or run.start.pretrain_weights}: {loaded}")
    report = prepare_finetune(model, run, loaded)
    train_loader, valid_loader = make_loaders(run, rank(), world_size(), vocabulary)
    seed_everything(run.train.seed, rank(), run.train.deterministic)
    trainer = create_trainer(model, train_loader, valid_loader, TrainConfig(**run.flat()), state)
    trainer.facts |= {"seed": run.train.seed, "data": data_fingerprints(run), "vocabulary": vocabulary.fingerprint}
    if is_main() and (loaded is not None or run.finetune.used):
        say(report.table())
        report.save(trainer.save_dir)
    trainer.train(run.gpus, run.local_rank)


def start_from(model: nn.Module, start: StartOptions) -> LoadReport | None:
    """Put the weights of a checkpoint of ours or a published one into a new model; None without either."""
    if start.pretrain_ckpt:
        source = from_pretrained(start.pretrain_ckpt)
    elif start.pretrain_config and start.pretrain_weights:
        source = load_published(start.pretrain_config, start.pretrain_weights)
    else:
        return None
    return load_weights_into(model, merge_adapters(source).state_dict())


def state_to_resume(run: RunConfig) -> TrainingState | None:
    """The stored state to go on from: --restart auto first, then --resume; None for a fresh start."""
    resume = run.start.resume or run.start.pretrain_state
    if run.start.restart == "auto":
        assert run.train.save_dir is not None
        found = find_restart(run.train.save_dir, resume) if is_main() else None
        path = from_main(found.path if found is not None else None)
        if path is not None:
            return read_state(path)
        say("--restart auto: nothing to continue, starting afresh")
    if resume is None:
        return None
    state = read_state(resume)
    state.further = True
    return state


def data_fingerprints(run: RunConfig) -> dict[str, str]:
    """sha256 of the manifest of each data set, which lists the checksums of its files."""
    data = run.data
    folders = [data.train_set, data.train_set2, data.train_set3, data.valid_set, data.valid_set2, data.valid_set3]
    manifests = {folder: Path(folder) / "manifest.json" for folder in folders if folder}
    return {folder: sha256_of(manifest) for folder, manifest in manifests.items() if manifest.is_file()}


if __name__ == "__main__":
    sys.exit(main())
