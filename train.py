"""Train a model: parse -> seed -> create_model -> loaders -> create_trainer -> train.

python train.py --config configs/pretrain_small.yaml --train_set shards/train --valid_set shards/valid --save_dir runs
torchrun --nproc_per_node 2 train.py ... --gpus 0 1
"""

import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

# Before CUDA starts: the allocator then copes with batches of changing size. A user's own setting stays.
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")

from configs.cli import given_options, parse
from configs.command import command
from configs.errors import ConfigError
from configs.files import sha256_of
from configs.schema import NO_NOISE, RunConfig
from data.label_checks import with_counts
from data.label_sets import with_vocabulary
from data.loader import make_loaders, make_test_loader
from data.vocab import load_vocabulary
from models import create_model
from trainers import TrainConfig, Trainer, create_trainer
from trainers.batches import naming_lost_loaders
from trainers.distributed import choose_device, is_main, process_group, rank, say, world_size
from trainers.finetune import prepare_finetune
from trainers.preemption import CONTINUES, heeding_signals
from trainers.report import final_report
from trainers.rng import seed_everything
from trainers.run_folder import restart_state
from trainers.start import adopt, check_sizes, encoder_options, source_of, start_from
from trainers.training_state import TrainingState, read_state

__all__ = ["create_trainer", "main", "train"]


@command("train", interrupted=f"interrupted; {CONTINUES}")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    run = parse(argv)
    check_required(run)
    on = choose_device(run.gpus, run.local_rank)
    with heeding_signals(), process_group(on, run.train.rank_timeout), naming_lost_loaders():
        train(run, given_options(argv))
    return 0


def check_required(run: RunConfig) -> None:
    """Raise a ConfigError for what can't be left out."""
    if not run.data.train_set:
        raise ConfigError("is required", "--train_set", hint="a folder of shards, made by scripts/process_pdbs.py")
    if not run.train.save_dir:
        raise ConfigError("is required", "--save_dir", hint="the folder that gets version_0, version_1, ...")
    if run.task.startswith("pretrain") and not any(getattr(run.noise, name) for name in NO_NOISE):
        hint = "--config configs/pretrain.yaml has the published amounts"
        raise ConfigError("has nothing to learn without noise or masks", f"--task {run.task}", hint=hint)


def train(run: RunConfig, given: Collection[str] = ()) -> Trainer:
    """Train what the options say, on this rank; returns the trainer.

    Args:
        given: options of the command line, which a checkpoint to start from does not overrule.
    """
    state = state_to_resume(run)
    source = source_of(run.start) if state is None else None
    run = with_options_of(run, source, state, given)
    vocabulary = load_vocabulary(run.encoder.fragmentation_method)
    place = (rank(), world_size(), vocabulary)
    train_loader, valid_loader = make_loaders(run, *place)
    test_loader = make_test_loader(run, *place)
    sets = {"validation set": valid_loader, "test set": test_loader}
    others = {role: loader.dataset for role, loader in sets.items() if loader is not None}
    run, notes = with_vocabulary(run, train_loader.dataset, others)  # type: ignore[arg-type]
    for note in notes:
        say(note)
    run = with_counts(run, train_loader.dataset)  # type: ignore[arg-type]
    seed_everything(run.train.seed, deterministic=run.train.deterministic)  # the same initial weights on all ranks
    model = create_model(run, vocabulary, train_loader.dataset)  # type: ignore[arg-type]
    loaded = None if source is None else start_from(model, source, run.start)
    if loaded is not None:
        say(f"started from {run.start.pretrain_ckpt or run.start.pretrain_weights}: {loaded}")
    finetuning = prepare_finetune(model, run, loaded)
    seed_everything(run.train.seed, rank(), run.train.deterministic)
    trainer = create_trainer(model, train_loader, valid_loader, TrainConfig(**run.flat()), state)
    trainer.facts |= {"seed": run.train.seed, "data": data_fingerprints(run), "vocabulary": vocabulary.fingerprint}
    if is_main() and (loaded is not None or run.finetune.used):
        say(finetuning.table())
        if state is None or state.further:
            finetuning.save(trainer.save_dir)
    trainer.check_test_set(test_loader)
    trainer.train(run.gpus, run.local_rank)
    loaders = {name: one for name, one in (("valid", valid_loader), ("test", test_loader)) if one is not None}
    if trainer.reports and run.report.final_report and loaders:
        final_report(trainer, loaders, run.report.bootstrap, run.train.seed)
    return trainer


def with_options_of(run: RunConfig, source: Any, state: TrainingState | None, given: Collection[str]) -> RunConfig:
    """The run with the encoder of what it starts from or continues; says what that changes."""
    wanted = encoder_options(source, state)
    if source is not None:
        check_sizes(run, wanted, given, run.start.pretrain_ckpt or run.start.pretrain_weights or "")
    run, notes = adopt(run, wanted, given)
    if notes:
        say("; ".join(notes))
    return run


def state_to_resume(run: RunConfig) -> TrainingState | None:
    """The stored state to go on from: --restart auto first, then --resume; None for a fresh start."""
    resume = run.start.resume or run.start.pretrain_state
    if run.start.restart == "auto":
        assert run.train.save_dir is not None
        state = restart_state(run.train.save_dir, resume)
        if state is not None:
            return state
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
