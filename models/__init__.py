"""Models: a backbone and its heads. One line here for each."""

from collections.abc import Callable
from typing import Any

from configs.errors import ConfigError
from configs.schema import RunConfig, nearest
from data.vocab import Vocabulary
from models.affinity_predictor import AffinityPredictor, RegressionPredictor
from models.classifier_model import ClassifierModel, MultiClassClassifierModel
from models.config import DenoiseBlockEmbeddingConfig, DenoiseConfig, EncoderConfig, config_from_dict
from models.masking_model import MaskedNodeModel
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

MODELS: dict[str, type] = {
    "AffinityPredictor": AffinityPredictor,
    "ClassifierModel": ClassifierModel,
    "DenoisePretrainModel": DenoisePretrainModel,
    "DenoisePretrainModelWithBlockEmbedding": DenoisePretrainModelWithBlockEmbedding,
    "MaskedNodeModel": MaskedNodeModel,
    "MultiClassClassifierModel": MultiClassClassifierModel,
    "PredictionModel": PredictionModel,
    "ProteinInterfaceModel": ProteinInterfaceModel,
    "RegressionPredictor": RegressionPredictor,
}
"""`model_type` of a configuration -> class; each has its frozen configuration class as `Config`."""


def create_model(what: RunConfig | str, vocabulary: Vocabulary | None = None, **config: Any) -> Any:
    """A new model, by the options of a run and the vocabulary of its data, or by name and configuration.

    Example:
        create_model(run, vocabulary)
        create_model("PredictionModel", atom_hidden_size=32, block_hidden_size=32)

    Raises:
        ConfigError: an unknown name or key, or a value that makes no sense.
    """
    if isinstance(what, RunConfig):
        if vocabulary is None:
            raise ConfigError("a run's model needs the vocabulary of its data", "create_model")
        return TASK_MODELS[what.task](what, vocabulary)
    if what not in MODELS:
        raise ConfigError(f"unknown model {what!r}", "create_model", hint=nearest(what, MODELS))
    kind: Any = MODELS[what]
    return kind(config_from_dict(kind.Config, config, what))


def pretraining_model(run: RunConfig, vocabulary: Vocabulary) -> Any:
    """A new pretraining model: a head for each noise that is on."""
    noise = run.noise
    values: dict[str, Any] = vars(run.encoder) | {
        "num_block_types": vocabulary.size,
        "atom_noise": noise.atom_noise > 0,
        "translation_noise": noise.translation_noise > 0,
        "rotation_noise": noise.rotation_noise > 0,
        "torsion_noise": noise.torsion_noise > 0,
        "atom_weight": noise.atom_weight,
        "translation_weight": noise.tr_weight,
        "rotation_weight": noise.rot_weight,
        "torsion_weight": noise.tor_weight,
        "mask_weight": noise.mask_weight,
        "num_masked_block_classes": vocabulary.n_mask_classes if noise.mask_proportion > 0 else None,
    }
    if run.block_embedding.used:
        return DenoisePretrainModelWithBlockEmbedding(
            DenoiseBlockEmbeddingConfig(**values, **vars(run.block_embedding))
        )
    return DenoisePretrainModel(DenoiseConfig(**values))


TASK_MODELS: dict[str, Callable[[RunConfig, Vocabulary], Any]] = {
    "pretrain_torsion": pretraining_model,
    "pretrain_torsion_masking": pretraining_model,
    "pretrain_gaussian": pretraining_model,
}
"""Task of a run -> what makes its new model."""


__all__ = [
    "MODELS",
    "TASK_MODELS",
    "AffinityPredictor",
    "ClassifierModel",
    "DenoiseBlockEmbeddingConfig",
    "DenoiseConfig",
    "DenoisePretrainModel",
    "DenoisePretrainModelWithBlockEmbedding",
    "EncoderConfig",
    "LoadReport",
    "MaskedNodeModel",
    "MultiClassClassifierModel",
    "PredictionModel",
    "ProteinInterfaceModel",
    "RegressionPredictor",
    "create_model",
    "from_pretrained",
    "load_published",
    "load_weights_into",
    "save_pretrained",
]
