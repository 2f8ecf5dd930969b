"""Models: a backbone and its heads. One line here for each."""

from typing import Any

from configs.composition_options import COMPOSITION
from configs.errors import ConfigError
from configs.schema import RunConfig, nearest
from data.dataset import InterfaceDataset
from data.label_sets import frequencies, read_label_sets
from data.vocab import Vocabulary
from models.affinity_predictor import AffinityPredictor, RegressionPredictor
from models.classifier_model import ClassifierModel, MultiClassClassifierModel
from models.composition import CompositionModel, composition_model
from models.config import DenoiseBlockEmbeddingConfig, DenoiseConfig, EncoderConfig, config_from_dict
from models.kernel_model import KernelModel
from models.load_any import load_checkpoint
from models.losses import label_loss
from models.masking_model import MaskedNodeModel
from models.multilabel_model import MultiLabelModel
from models.persistence import (
    LoadReport,
    from_pretrained,
    load_published,
    load_weights_into,
    save_pretrained,
)
from models.prediction_model import PredictionModel
from models.pretrain_model import DenoisePretrainModel, DenoisePretrainModelWithBlockEmbedding
from models.prot_interface_model import ProteinInterfaceModel
from models.tasks import TASK_MODELS

MODELS: dict[str, type] = {
    "AffinityPredictor": AffinityPredictor,
    "ClassifierModel": ClassifierModel,
    "CompositionModel": CompositionModel,
    "DenoisePretrainModel": DenoisePretrainModel,
    "DenoisePretrainModelWithBlockEmbedding": DenoisePretrainModelWithBlockEmbedding,
    "KernelModel": KernelModel,
    "MaskedNodeModel": MaskedNodeModel,
    "MultiClassClassifierModel": MultiClassClassifierModel,
    "MultiLabelModel": MultiLabelModel,
    "PredictionModel": PredictionModel,
    "ProteinInterfaceModel": ProteinInterfaceModel,
    "RegressionPredictor": RegressionPredictor,
}
"""`model_type` of a configuration -> class; each has its frozen configuration class as `Config`."""


def create_model(
    what: RunConfig | str, vocabulary: Vocabulary | None = None, dataset: InterfaceDataset | None = None, **config: Any
) -> Any:
    """A new model, by the options of a run and the vocabulary of its data, or by name and configuration.

    Example:
        create_model(run, vocabulary)
        create_model("PredictionModel", atom_hidden_size=32, block_hidden_size=32)

    Args:
        dataset: training set of a run; the composition model is built from its blocks and targets, and sets of labels
            start at the frequencies of theirs.

    Raises:
        ConfigError: an unknown name or key, or a value that makes no sense.
    """
    if isinstance(what, RunConfig):
        if vocabulary is None:
            raise ConfigError("a run's model needs the vocabulary of its data", "create_model")
        if what.model == COMPOSITION:
            if dataset is None:
                raise ConfigError("a composition model is built from its training set", "create_model")
            return composition_model(what, vocabulary, dataset)
        model = TASK_MODELS[what.task](what, vocabulary)
        if isinstance(model, MultiLabelModel) and dataset is not None:
            model.start_at(frequencies(read_label_sets(dataset), model.labels), label_loss(what.multilabel))
        return model
    if what not in MODELS:
        raise ConfigError(f"unknown model {what!r}", "create_model", hint=nearest(what, MODELS))
    kind: Any = MODELS[what]
    return kind(config_from_dict(kind.Config, config, what))


__all__ = [
    "MODELS",
    "TASK_MODELS",
    "AffinityPredictor",
    "ClassifierModel",
    "CompositionModel",
    "DenoiseBlockEmbeddingConfig",
    "DenoiseConfig",
    "DenoisePretrainModel",
    "DenoisePretrainModelWithBlockEmbedding",
    "EncoderConfig",
    "KernelModel",
    "LoadReport",
    "MaskedNodeModel",
    "MultiClassClassifierModel",
    "MultiLabelModel",
    "PredictionModel",
    "ProteinInterfaceModel",
    "RegressionPredictor",
    "create_model",
    "from_pretrained",
    "load_checkpoint",
    "load_published",
    "load_weights_into",
    "save_pretrained",
]
