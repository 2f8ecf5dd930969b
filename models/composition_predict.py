"""What a composition model says of a data set, target by target, in the unit of the labels, where it is sure enough."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from configs.errors import CheckpointError, ConfigError, DataError
from data.composition import SEGMENTS, BlockCounts, CompositionLoader, block_counts_of
from data.composition_schema import BINARY, REGRESSION
from data.dataset import InterfaceDataset
from data.labels import LabelScale
from data.sampler import BatchSampler
from data.shards import ShardReader, check_vocabulary
from data.vocab import load_vocabulary
from models.composition import CompositionModel

OUTPUT_SPACES = ("raw", "transformed")
BATCH_SIZE = 32768
Scaler = LabelScale | tuple[str, ...]


def scalers_of(model: CompositionModel) -> dict[str, Scaler]:
    """What gives the outputs for each target their meaning: the scale of a number, or the names of classes.

    Raises:
        CheckpointError: the model's facts hold none.
    """
    labels: Mapping[str, Any] = model.facts.get("labels") or {}
    names = model.config.targets
    if "transform" in labels:
        return dict(zip(names, LabelScale.from_dict(labels).each()))
    if "classes" in labels:
        return {names[0]: tuple(labels["classes"])}
    if set(labels.get("targets", ())) != set(names):
        raise CheckpointError("keeps no scale of labels", type(model).__name__, hint="train it first")
    told = labels["targets"]
    return {
        name: tuple(told[name]["classes"]) if "classes" in told[name] else LabelScale.from_dict(told[name]["scale"])
        for name in names
    }


def unknown_fractions(counts: BlockCounts, seen: frozenset[int], weight: str = "blocks") -> Tensor:
    """[items] share of the blocks, or atoms, of each item that is of types which are not among those seen.

    The same as `data.unknown_fraction`, for many items at once.
    """
    amounts = getattr(counts, weight)
    known = torch.tensor(sorted(seen), device=amounts.device)
    there = torch.isin(counts.type, known)
    total, unseen = (
        amounts.new_zeros(counts.n_items).index_add(0, counts.item, n) for n in (amounts, amounts * ~there)
    )
    return unseen.double() / total


def predict_targets(
    model: CompositionModel,
    dataset: InterfaceDataset,
    output_space: str = "raw",
    confidence_threshold: float = 0.0,
) -> dict[str, np.ndarray]:
    """Target -> [items] float64 values or class numbers; NaN where the confidence is below the threshold.

    The confidence in a number is the share of blocks that training saw, that in a class its probability.

    Args:
        output_space: of numbers: `raw`, in the unit of the labels in the data, or `transformed`, after
            --label_transform.
        confidence_threshold: from 0 to 1; what is as sure as that is kept.

    Raises:
        ConfigError (a ValueError): another output space, or a threshold outside of 0 to 1.
        DataError: block types that the model does not know.
    """
    if output_space not in OUTPUT_SPACES:
        raise ConfigError(f"must be one of {', '.join(OUTPUT_SPACES)}, got {output_space!r}", "output_space")
    if not 0 <= confidence_threshold <= 1:
        raise ConfigError(f"must be between 0 and 1, got {confidence_threshold}", "confidence_threshold")
    scalers, device = scalers_of(model), next(model.parameters()).device
    found: dict[str, list[np.ndarray]] = {name: [] for name in model.config.targets}
    for batch in checked_loader(model, dataset):
        batch = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()}
        said = said_of_batch(model, batch, scalers, output_space == "raw")
        for name, (values, confidence) in said.items():
            kept = values.masked_fill(confidence < confidence_threshold, torch.nan)
            found[name].append(kept.cpu().numpy())
    return {name: np.concatenate(parts) for name, parts in found.items()}


def said_of_batch(
    model: CompositionModel, batch: Any, scalers: Mapping[str, Scaler], raw: bool
) -> dict[str, tuple[Tensor, Tensor]]:
    """Target -> [items] values or class numbers, and [items] confidence in them."""
    logits = model.infer(batch).logits.double()
    known = 1 - unknown_fractions(block_counts_of(batch), model.config.seen)
    found = {}
    for (name, columns), kind in zip(model.config.slices().items(), model.config.kinds):
        own = logits[:, columns]
        if kind == REGRESSION:
            scale = scalers[name]
            assert isinstance(scale, LabelScale)
            found[name] = ((scale.inverse(own) if raw else scale.values(own)).squeeze(1), known)
            continue
        sure = torch.cat([torch.zeros_like(own), own], 1).softmax(1) if kind == BINARY else own.softmax(1)
        confidence, number = sure.max(1)
        found[name] = (number.double(), confidence)
    return found


def checked_loader(model: CompositionModel, dataset: InterfaceDataset) -> CompositionLoader:
    """Batches of a data set in its order, whose block types are those of the model; DataError when they are not."""
    for part in dataset.parts:
        if isinstance(part, ShardReader) and model.config.fragmentation_method is not None:
            check_vocabulary(part, load_vocabulary(model.config.fragmentation_method).fingerprint)
    loader = CompositionLoader(dataset, BatchSampler(dataset.counts, BATCH_SIZE))
    n_types, largest = len(model.config.block_names), int(loader.counts.type.max())
    if largest >= n_types:
        place = int(loader.counts.bag[loader.counts.type == largest][0]) // SEGMENTS
        what = f"has block type {largest}, the model knows {n_types}"
        raise DataError(what, dataset.stored(place).id, hint="the vocabularies differ")
    return loader
