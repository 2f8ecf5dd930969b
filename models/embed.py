"""Items to named representations: batch after batch, each as its interface alone would give it."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from configs.errors import ConfigError
from data.collate import collate_items
from data.failures import Failure
from data.inputs import InputItem, InputOptions, Inputs, Source, open_inputs
from data.item import Item
from data.item_tables import atom_columns, block_columns
from data.vocab import GLOBAL, MODALITIES, Vocabulary, load_vocabulary
from models.backbone import Backbone
from models.load_any import set_padding
from models.named import Level, Wanted, backbone_of, level_of, named_representations, segments_of

logger = logging.getLogger(__name__)

MAX_BLOCKS = 1000
"""Blocks computed at a time; a larger interface comes alone."""


@dataclass(frozen=True)
class Embedded:
    """The representations of some interfaces.

    Attributes:
        entries: the interfaces. segments: [segments, 2] place in `entries` and segment number of each segment.
        vectors: name -> float32 [rows, width]; a row for each interface, segment, block or atom, without global nodes.
    """

    entries: list[InputItem]
    segments: np.ndarray
    vectors: dict[str, np.ndarray]

    def table(self, level: Level, vocabulary: Vocabulary) -> dict[str, Any]:
        """The columns of one level: what each row is, the input's own columns of coarse levels, the vectors."""
        if level == "block":
            columns: dict[str, Any] = dict(block_columns(self.entries, vocabulary))
        elif level == "atom":
            columns = dict(atom_columns(self.entries, vocabulary))
        elif level == "interface":
            rows = [self.entries[place] for place in self.segments[:, 0]]
            columns = {"id": [entry.name for entry in rows], "segment_ids": self.segments[:, 1].astype(np.uint8)}
            columns |= input_columns(rows)
        else:
            columns = {"id": [entry.name for entry in self.entries], **input_columns(self.entries)}
        return columns | {name: values for name, values in self.vectors.items() if level_of(name) == level}


def input_columns(entries: Iterable[InputItem]) -> dict[str, Any]:
    """The input's own columns as they stand, and group, kind of complex and label of the items where it has none."""
    entries = list(entries)
    own = {name: [entry.row[name] for entry in entries] for name in (entries[0].row if entries else ()) if name != "id"}
    items = [entry.item for entry in entries]
    ours = {
        "group": [item.group for item in items],
        "modality": [MODALITIES[item.modality] if item.modality >= 0 else "" for item in items],
        "label": np.array([item.label for item in items], np.float32),
    }
    return own | {name: values for name, values in ours.items() if name not in own}


def batches(entries: Iterable[InputItem], max_blocks: int = MAX_BLOCKS) -> Iterator[list[InputItem]]:
    """All items in order, up to `max_blocks` blocks at a time (a larger item comes alone)."""
    if max_blocks < 1:
        raise ConfigError(f"must be 1 or more, got {max_blocks}", "--max_blocks")
    waiting: list[InputItem] = []
    blocks = 0
    for entry in entries:
        if waiting and blocks + entry.item.n_blocks > max_blocks:
            yield waiting
            waiting, blocks = [], 0
        waiting.append(entry)
        blocks += entry.item.n_blocks
    if waiting:
        yield waiting


@contextmanager
def each_alone(model: Any) -> Iterator[None]:
    """Let a model whose padding depends on the whole batch treat each interface as a batch of its own, without
    dropout and gradients."""
    training, own = model.training, [part for part in model.modules() if isinstance(part, Backbone)]
    by_batch = any(part.config.padding == "batch" for part in own)
    model.eval()
    if by_batch:
        set_padding(model, "own")
    try:
        with torch.inference_mode():
            yield
    finally:
        if by_batch:
            set_padding(model, "batch")
        model.train(training)


def collated(model: Any, entries: Iterable[InputItem]) -> Any:
    """The batch of some interfaces, on the device of the model."""
    return collate_items([entry.item for entry in entries]).to(next(model.parameters()).device)


def embed_items(
    model: Any, entries: Iterable[InputItem], wanted: Wanted, max_blocks: int = MAX_BLOCKS
) -> Iterator[Embedded]:
    """The representations of interfaces, in their order, a batch at a time.

    Batch mates don't change a vector (beyond the last bits of float32 sums): padding is that of each interface alone,
    whatever the checkpoint says.
    """
    backbone = backbone_of(model)
    wanted.check(backbone.config)
    equivariant = any(name.startswith("z") for name in wanted.names)
    for some in batches(entries, max_blocks):
        with each_alone(model):
            batch = collated(model, some)
            found = backbone.encode(batch, features=equivariant)
            made = named_representations(model, found, wanted)
            ordinary = batch["B"] != GLOBAL
            rows = {"block": ordinary, "atom": ordinary.repeat_interleave(batch["block_lengths"])}
            vectors = {name: as_array(values, rows.get(level_of(name))) for name, values in made.items()}
        yield Embedded(some, segments_of(found), vectors)


def as_array(values: Tensor, rows: Tensor | None) -> np.ndarray:
    return (values if rows is None else values[rows]).float().cpu().numpy()


def inputs_for(model: Any, source: Source | Inputs, **selection: Any) -> Inputs:
    """The input of a model, with the block types of the model's vocabulary.

    Args:
        source: as `InputOptions.input`. selection: the other options of `InputOptions`.
    """
    if isinstance(source, Inputs):
        return source
    return open_inputs(InputOptions(source, **selection), backbone_of(model).config.fragmentation_method)


def frame_of(columns: dict[str, Any]) -> pd.DataFrame:
    """Columns as a frame by `id`, a vector in each cell."""
    cells = {name: list(values) if np.ndim(values) == 2 else values for name, values in columns.items()}
    return pd.DataFrame(cells).set_index("id")


def embed_frames(
    model: Any,
    source: Any,
    wanted: Wanted,
    max_blocks: int = MAX_BLOCKS,
    failures: list[Failure] | None = None,
    **selection: Any,
) -> Iterator[pd.DataFrame]:
    """A frame for each batch; see `Embeds.embed_many`."""
    if len(wanted.levels) > 1:
        what = f"have vectors of {' and '.join(wanted.levels)}, which make no common table"
        raise ConfigError(what, "representations", hint="embed one level at a time")
    if isinstance(source, Item):
        source = [source]
    if isinstance(source, (list, tuple)) and source and all(isinstance(one, Item) for one in source):
        entries: Iterable[InputItem] = (InputItem(one) for one in source)
        inputs = None
        vocabulary = load_vocabulary(backbone_of(model).config.fragmentation_method)
    else:
        entries = inputs = inputs_for(model, source, **selection)
        vocabulary = inputs.vocabulary
    for found in embed_items(model, entries, wanted, max_blocks):
        yield frame_of(found.table(wanted.levels[0], vocabulary))
    if inputs is not None and inputs.failures:
        logger.warning("%d failed; the first: %s", len(inputs.failures), inputs.failures[0].reason)
        if failures is not None:
            failures.extend(inputs.failures)
