"""Loaders of training and validation batches from the options of a run."""

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from multiprocessing import get_all_start_methods, get_context, parent_process
from multiprocessing.context import BaseContext
from threading import Thread
from typing import TYPE_CHECKING

import torch
from torch.utils.data import DataLoader
from torch_geometric.data import Data

from configs.composition_options import COMPOSITION
from configs.errors import ConfigError
from configs.schema import RunConfig
from data.collate import collate_items
from data.composition import CompositionLoader
from data.dataset import InterfaceDataset
from data.item import Item
from data.noise import PretrainTransform
from data.pairs import collate_pairs
from data.sampler import BatchSampler

if TYPE_CHECKING:
    from data.vocab import Vocabulary

Collate = Callable[[Sequence[Item]], Data]
Loader = DataLoader | CompositionLoader


def _start_worker(rank: int, _: int) -> None:
    """One thread. A signal to all processes of a job is for the training process, `rank`, which still needs its
    workers: they obey SIGTERM from that process only, and end with it."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    if hasattr(signal, "sigtimedwait"):  # absent on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        Thread(target=_end_with, args=(rank,), daemon=True).start()


def _end_with(rank: int) -> None:
    alive = parent_process()
    while alive is None or alive.is_alive():  # a kill of the rank gives it no time to end its workers
        told = signal.sigtimedwait({signal.SIGTERM}, 1.0)
        if told is not None and told.si_pid == rank:
            break
    os._exit(0)


def _context() -> BaseContext | None:
    """How workers are started: forked from a clean process beside the threads of a process group, which a fork of the
    rank itself could leave with a lock that nobody holds; else in the usual, faster way."""
    if not torch.distributed.is_initialized() or "forkserver" not in get_all_start_methods():
        return None
    context = get_context("forkserver")
    context.set_forkserver_preload(["__main__", __name__])
    return context


# What makes a batch, where a task needs more than the items as they are.
COLLATE: dict[str, Collate] = {"prot_interface": collate_pairs}


def make_loader(
    dataset: InterfaceDataset, sampler: BatchSampler, num_workers: int = 0, collate: Collate = collate_items
) -> DataLoader:
    """A loader of collated batches in the order of the sampler; workers live as long as the loader.

    The sampler is asked for (epoch, item) pairs at the start of every epoch, so `loader.batch_sampler.set_epoch` and
    `start_batch` work with running workers.
    """
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        worker_init_fn=partial(_start_worker, os.getpid()),
        multiprocessing_context=_context() if num_workers else None,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4 if num_workers else None,
    )


def make_test_loader(
    run: RunConfig, rank: int = 0, world: int = 1, vocabulary: "Vocabulary | None" = None
) -> Loader | None:
    """The loader of `--test_set`, made as that of a validation set; None without one."""
    if run.report.test_set is None:
        return None
    data = replace(run.data, valid_set=run.report.test_set, valid_set2=None, valid_set3=None)
    return make_loaders(replace(run, data=data), rank, world, vocabulary)[1]


def make_loaders(
    run: RunConfig, rank: int = 0, world: int = 1, vocabulary: "Vocabulary | None" = None
) -> tuple[Loader, Loader | None]:
    """The training loader and, when a validation set is given, the validation loader of one rank.

    Args:
        run: its data, noise and seed options count. rank, world: this process and the number of processes.
        vocabulary: block types that the shards must have been made with (None: any, but all the same).

    Raises:
        ConfigError: no training set, or a batch size that doesn't fit the ranks.
        DataError: data sets that can't be read, are empty, or have another vocabulary.
    """
    data = run.data
    train_sets = [folder for folder in (data.train_set, data.train_set2, data.train_set3) if folder]
    valid_sets = [folder for folder in (data.valid_set, data.valid_set2, data.valid_set3) if folder]
    if not train_sets:
        raise ConfigError("is required: a folder of shards", "--train_set")
    transform = PretrainTransform(run.noise, data.max_n_vertex_per_item)
    fingerprint = vocabulary.fingerprint if vocabulary is not None else None

    def loader(folders: list[str], training: bool, batch_size: int, max_blocks: int | None) -> Loader:
        dataset = InterfaceDataset(
            folders,
            transform=transform,
            seed=run.train.seed,
            training=training,
            vocabulary_fingerprint=fingerprint,
        )
        sampler = BatchSampler(
            dataset.counts,
            batch_size,
            max_blocks,
            data.max_n_vertex_per_item,
            shuffle=training and data.shuffle,
            seed=run.train.seed,
            rank=rank,
            world=world,
            balanced=training and data.balanced_sampler,
        )
        if run.model == COMPOSITION:
            return CompositionLoader(dataset, sampler)
        return make_loader(dataset, sampler, data.num_workers, COLLATE.get(run.task, collate_items))

    train = loader(train_sets, True, data.batch_size, data.max_n_vertex_per_gpu)
    if not valid_sets:
        return train, None
    valid_budget = data.valid_max_n_vertex_per_gpu or data.max_n_vertex_per_gpu
    return train, loader(valid_sets, False, data.valid_batch_size or data.batch_size, valid_budget)
