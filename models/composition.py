"""The composition model: what can be told of an interface from its blocks alone, without geometry."""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from configs.composition_options import CompositionOptions
from configs.options import require
from configs.schema import RunConfig
from data.composition import BlockCounts, block_counts_of
from data.composition_schema import BINARY, CLASSIFICATION, REGRESSION, schema_of_run
from data.dataset import InterfaceDataset
from data.vocab import Vocabulary, load_vocabulary
from models.block_encoders import ENCODINGS, TaxonomyEncoding
from models.hub_model import HubModel

USUAL_SIZE = 4.0  # logarithm of one more than the blocks or atoms of a segment, about


@dataclass(frozen=True)
class CompositionConfig(CompositionOptions):
    """Blocks, targets and sizes of a composition model. With the names of the blocks a checkpoint is complete."""

    dropout: float = 0.3
    """Dropout of the network behind the encoding."""
    blocks: tuple[str, ...] = ()
    """All block types, in index order; left out: those of the vocabulary."""
    vocabulary: tuple[str, ...] = ()
    """Block types of the training set; left out: all of them."""
    fragmentation_method: str | None = None
    """Name of the vocabulary of the block types."""
    targets: tuple[str, ...] = ("label",)
    """Names of the targets."""
    kinds: tuple[str, ...] = (REGRESSION,)
    """Kind of each target: regression, binary or classification."""
    outputs: tuple[int, ...] = (1,)
    """Numbers that the model gives for each target: one, or one a class."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.dropout < 1, "dropout", self.dropout, "in [0, 1)")
        n = len(self.targets)
        fit = n == len(self.kinds) == len(self.outputs) > 0
        require(fit, "targets", list(self.targets), "as many as there are kinds and outputs")
        kinds = (REGRESSION, BINARY, CLASSIFICATION)
        require(set(self.kinds) <= set(kinds), "kinds", list(self.kinds), f"made of {', '.join(kinds)}")
        ok = all(m >= 2 if kind == CLASSIFICATION else m == 1 for kind, m in zip(self.kinds, self.outputs))
        require(ok, "outputs", list(self.outputs), "one for a number, or one for each of several classes")

    @cached_property
    def block_names(self) -> tuple[str, ...]:
        """All block types, in index order."""
        return self.blocks or load_vocabulary(self.fragmentation_method).blocks

    @cached_property
    def seen(self) -> frozenset[int]:
        """Block types of the training set, for `data.unknown_fraction`."""
        known = set(self.vocabulary or self.block_names)
        return frozenset(number for number, name in enumerate(self.block_names) if name in known)

    @property
    def num_targets(self) -> int:
        return len(self.targets)

    @property
    def num_classes(self) -> int:
        """Classes of the (first) target."""
        return 2 if self.kinds[0] == BINARY else self.outputs[0]

    def slices(self) -> dict[str, slice]:
        """Columns of the model's output that belong to each target."""
        ends = torch.tensor(self.outputs).cumsum(0).tolist()
        return {name: slice(end - size, end) for name, end, size in zip(self.targets, ends, self.outputs)}


@dataclass
class CompositionOutput:
    """What the composition model says of a batch.

    Attributes:
        logits: [items, outputs] of all targets side by side.
        pred: of regressions [items, targets] values on the scale that the model learns; of one binary target [items]
            probabilities; of one classification [items, classes] probabilities; of mixed targets the logits.
        graph_repr: [items, width] what the network behind the encoding gives.
        loss: set by a trainer.
    """

    logits: Tensor
    pred: Tensor
    graph_repr: Tensor
    loss: Tensor | None = None

    def parts(self) -> dict[str, Tensor]:
        """What to log."""
        return {} if self.loss is None else {"loss": self.loss}


class CompositionModel(HubModel, nn.Module):
    """Targets from the numbers of blocks of each type in either segment, and their sizes.

    Example:
        output = model(batch)            # of CompositionLoader, or of collate_items
        output.pred
    """

    Config: type = CompositionConfig

    def __init__(self, config: CompositionConfig) -> None:
        super().__init__()
        self.config = config
        names, vocabulary = config.block_names, config.vocabulary or config.block_names
        self.encoding = ENCODINGS[config.block_encoding](config, names, vocabulary)
        self.taxonomy = TaxonomyEncoding(config, names) if config.top_k else None
        width = self.encoding.width + (self.taxonomy.width if self.taxonomy is not None else 0) + 4
        layers: list[nn.Module] = []
        for hidden in config.widths:
            layers += [nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Dropout(config.dropout)]
            width = hidden
        self.trunk = nn.Sequential(*layers)
        self.target_ffn = nn.Linear(width, sum(config.outputs))

    def config_dict(self) -> dict[str, Any]:
        """The configuration as JSON-serialisable values, with `model_type`."""
        return {"model_type": type(self).__name__, **asdict(self.config)}

    def features(self, counts: BlockCounts) -> Tensor:
        """[items, features] the encoded blocks, their classes, and the sizes of the segments."""
        parts = [self.encoding(counts)]
        if self.taxonomy is not None:
            parts.append(self.taxonomy(counts))
        sizes = torch.stack([counts.total("blocks"), counts.total("atoms")], 1).to(parts[0].dtype).log1p()
        return torch.cat([*parts, sizes.reshape(counts.n_items, -1) - USUAL_SIZE], 1)

    def forward(self, batch: Any = None, **entries: Any) -> CompositionOutput:
        """The model's output for a batch.

        Args:
            batch: of `data.composition.CompositionLoader` or of `collate_items`; or its entries as keywords.
        """
        found = self.trunk(self.features(block_counts_of(entries if batch is None else batch)))
        logits = self.target_ffn(found)
        return CompositionOutput(logits, self.predicted(logits), found)

    def predicted(self, logits: Tensor) -> Tensor:
        """`pred` of the output."""
        if self.config.kinds == (BINARY,):
            return logits.squeeze(1).sigmoid()
        return logits.softmax(1) if self.config.kinds == (CLASSIFICATION,) else logits

    def infer(self, batch: Any) -> CompositionOutput:
        """The output without gradients and dropout; the training mode is left as it was."""
        training = self.training
        self.eval()
        try:
            with torch.no_grad():
                return self(batch)
        finally:
            self.train(training)


def composition_model(run: RunConfig, vocabulary: Vocabulary, dataset: InterfaceDataset) -> CompositionModel:
    """A new model for the task of a run, by the blocks and targets of its training set."""
    schema = schema_of_run(run, vocabulary, dataset)
    return CompositionModel(CompositionConfig(**vars(run.composition), dropout=run.encoder.dropout, **vars(schema)))
