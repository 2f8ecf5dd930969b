"""The composition model from a data set in a few lines: split, train, save, load, predict."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
from torch import nn

from configs.composition_options import COMPOSITION
from configs.errors import CheckpointError, ConfigError
from configs.schema import RunConfig, from_flat
from data.composition import CompositionLoader
from data.composition_schema import schema_of_run
from data.dataset import InterfaceDataset
from data.sampler import BatchSampler
from data.shards import ShardReader
from data.splits import group_of
from data.vocab import load_vocabulary
from models.composition import CompositionModel, composition_model
from models.composition_predict import Scaler, predict_targets, scalers_of
from models.intervals import CALIBRATION
from models.load_any import choose_device
from models.persistence import from_pretrained, save_pretrained
from trainers.calibration import VALIDATION, calibrate
from trainers.evaluation import predict
from trainers.report import groups_of
from trainers.rng import seed_everything
from trainers.run_folder import restart_state
from trainers.train_config import TrainConfig
from trainers.training_result import TrainingResult, training_result

VALID_STREAM = 7_000_003  # keeps the random numbers of the split apart from others of the same seed
NAMES = {"max_epochs": "max_epoch", "checkpoint_dir": "save_dir"}
QUIET = {"progress": False, "use_tensorboard": False, "shuffle": True}


class CompositionTrainer:
    """Trains a model of composition on the targets of a data set.

    Example:
        data = InterfaceDataset(items, {"pK": measured, "site": names})
        trainer = CompositionTrainer(data, block_encoding="embed", max_epochs=100)
        result = trainer.fit()
        trainer.save("model")
        trainer.predict(other)["pK"]

    Args:
        dataset: items with targets (`data.InterfaceDataset`), or with the labels that they carry.
        valid: data set to validate on; left out, whole groups of `dataset` are set aside for it.
        valid_fraction: share of the items that is set aside (0: none, and no early stopping).
        targets: name -> regression or classification; left out, names of classes are classes, and numbers numbers.
        device: auto (a GPU if there is one), cpu, cuda or cuda:N.
        options: any option of `train.py` by its name, with the defaults of `--model composition`; `max_epochs` and
            `checkpoint_dir` are other names of `max_epoch` and `save_dir`, and `hidden_dims` may be a list. Without
            `checkpoint_dir` nothing is kept but the model.

    Attributes:
        run: all options. model: built from the blocks and targets of the training part; the best one after `fit`.

    Raises:
        TypeError: no data set. ConfigError (a ValueError): an unknown option, or a value that makes no sense.
    """

    def __init__(
        self,
        dataset: InterfaceDataset,
        *,
        valid: InterfaceDataset | None = None,
        valid_fraction: float = 0.2,
        targets: Mapping[str, str] | None = None,
        device: str = "auto",
        **options: Any,
    ) -> None:
        if not isinstance(dataset, InterfaceDataset):
            raise TypeError(f"a data.InterfaceDataset is needed, not {type(dataset).__name__}")
        self.run = run_of(dataset, targets, options)
        self.device = choose_device(device)
        self.train_set, self.valid_set = dataset, valid
        if valid is None and valid_fraction:
            self.train_set, self.valid_set = set_aside(dataset, valid_fraction, self.run.train.seed)
        vocabulary = load_vocabulary(self.run.encoder.fragmentation_method)
        seed_everything(self.run.train.seed)
        self.model: CompositionModel = composition_model(self.run, vocabulary, self.train_set)
        self.result: TrainingResult | None = None

    @property
    def schema(self) -> Any:
        """Blocks and targets that the model is built from."""
        vocabulary = load_vocabulary(self.run.encoder.fragmentation_method)
        return schema_of_run(self.run, vocabulary, self.train_set)

    def fit(self) -> TrainingResult:
        """Train until the validation stops improving; the model is that of the best epoch afterwards."""
        from trainers import create_trainer

        with TemporaryDirectory(prefix="ligare_") as temporary:
            folder = self.run.train.save_dir or temporary
            values = self.run.flat() | {"save_dir": folder}
            found = restart_state(folder) if self.run.start.restart == "auto" else None
            train_loader = self._loader(self.train_set, True)
            valid_loader = None if self.valid_set is None else self._loader(self.valid_set, False)
            seed_everything(self.run.train.seed)
            trainer = create_trainer(self.model, train_loader, valid_loader, TrainConfig(**values), found)
            trainer.train([-1] if self.device.type == "cpu" else [self.device.index or 0])
            self.result = training_result(trainer)
            self.model = trainer.model.eval()  # type: ignore[assignment]
            if valid_loader is not None:
                said = predict(trainer, valid_loader)[1]
                facts, groups = self.model.facts, groups_of(valid_loader, said.get("id"))
                kept = calibrate(said, groups, facts["labels"], VALIDATION)
                self.model.facts = {**facts, CALIBRATION: {name: one.to_dict() for name, one in kept.items()}}
        return self.result

    def _loader(self, dataset: InterfaceDataset, training: bool) -> CompositionLoader:
        data = self.run.data
        size = data.batch_size if training else data.valid_batch_size or data.batch_size
        shuffle = training and data.shuffle
        return CompositionLoader(dataset, BatchSampler(dataset.counts, size, shuffle=shuffle, seed=self.run.train.seed))

    def save(self, path: str | Path) -> None:
        """Write model, block vocabulary and scales of the targets into a folder: safetensors, JSON, checksums.

        Raises:
            RuntimeError: before `fit`.
        """
        self._fitted("save")
        Path(path).mkdir(parents=True, exist_ok=True)
        save_pretrained(self.model, path, self.model.facts)

    @classmethod
    def load(
        cls: type[Self], path: str | Path, device: str = "auto"
    ) -> tuple[CompositionModel, nn.Module, dict[str, Scaler]]:
        """(model, its block encoder, target -> `LabelScale` or names of classes) of a folder that `save` wrote.

        `models.composition_predict.predict_targets(model, dataset)` predicts with it; no training data are needed.

        Raises:
            CheckpointError: no complete, undamaged composition model there.
        """
        model = from_pretrained(path)
        if not isinstance(model, CompositionModel):
            raise CheckpointError(f"holds a {type(model).__name__}, not a CompositionModel", path)
        model = model.to(choose_device(device)).eval()
        return model, model.encoding, scalers_of(model)

    def predict(
        self, dataset: InterfaceDataset, output_space: str = "raw", confidence_threshold: float = 0.0
    ) -> dict[str, np.ndarray]:
        """Target -> [items] values or class numbers, NaN where the confidence is below the threshold.

        See `models.composition_predict.predict_targets`.

        Raises:
            RuntimeError: before `fit`. ValueError: another output space, or a threshold outside of 0 to 1.
        """
        self._fitted("predict")
        return predict_targets(self.model, dataset, output_space, confidence_threshold)

    def _fitted(self, what: str) -> None:
        if self.result is None:
            raise RuntimeError(f"call fit() before {what}()")


def run_of(dataset: InterfaceDataset, targets: Mapping[str, str] | None, options: Mapping[str, Any]) -> RunConfig:
    """The run that options ask for."""
    flat: dict[str, Any] = {"model": COMPOSITION, "fragmentation_method": vocabulary_of(dataset), **QUIET}
    flat |= {NAMES.get(name, name): value for name, value in options.items()}
    if not isinstance(flat.get("hidden_dims", ""), str):
        flat["hidden_dims"] = ",".join(map(str, flat["hidden_dims"]))
    if targets is not None:
        flat["target_types"] = ",".join(f"{name}:{kind}" for name, kind in targets.items())
        flat["targets"] = ",".join(targets)
    if isinstance(flat.get("save_dir"), Path):
        flat["save_dir"] = str(flat["save_dir"])
    return from_flat(flat, "CompositionTrainer")


def vocabulary_of(dataset: InterfaceDataset) -> str:
    """Name of the vocabulary that a data set was made with; PS_300 for items that don't tell."""
    readers = [part for part in dataset.parts if isinstance(part, ShardReader)]
    name = readers[0].manifest.get("fragmentation_method") or readers[0].manifest.get("vocabulary") if readers else None
    return name or "PS_300"


def set_aside(dataset: InterfaceDataset, fraction: float, seed: int) -> tuple[InterfaceDataset, InterfaceDataset]:
    """A data set in two, with about a share of the items in the second: whole groups, or items when all are of one.

    Raises:
        ConfigError: a share outside of 0 to 1, or too few items for two parts.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"must be between 0 and 1, got {fraction}", "valid_fraction")
    if len(dataset) < 2:
        raise ConfigError("can't be split: it holds a single item", "dataset", hint="valid_fraction=0")
    groups = np.array(groups_of_items(dataset), object).astype(str)
    if len(set(groups.tolist())) < 2:
        groups = np.arange(len(dataset)).astype(str)
    names, sizes = np.unique(groups, return_counts=True)
    order = np.random.default_rng((seed, VALID_STREAM)).permutation(len(names))
    n = int(np.searchsorted(sizes[order].cumsum(), fraction * len(dataset))) + 1
    aside = np.isin(groups, names[order[: min(n, len(names) - 1)]])
    return dataset.subset(np.flatnonzero(~aside)), dataset.subset(np.flatnonzero(aside))


def groups_of_items(dataset: InterfaceDataset) -> Sequence[str]:
    """The unit of every item that stays together in splits."""
    pairs: list[tuple[str, str]] = []
    for part in dataset.parts:
        pairs += zip(part.ids, part.groups) if isinstance(part, ShardReader) else [(i.id, i.group) for i in part]
    return [group_of(name, group) for name, group in pairs]
