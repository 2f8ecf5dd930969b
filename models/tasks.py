"""The model of each task: from the options of a run and the vocabulary of its data."""

from collections.abc import Callable
from typing import Any

from configs.errors import ConfigError
from configs.schema import RunConfig
from data.vocab import Vocabulary
from models.affinity_predictor import AffinityPredictor, RegressionPredictor
from models.classifier_model import ClassifierModel, MultiClassClassifierModel
from models.config import (
    AffinityConfig,
    ClassifierConfig,
    DenoiseBlockEmbeddingConfig,
    DenoiseConfig,
    EncoderConfig,
    InterfaceConfig,
    MaskedNodeConfig,
    MultiClassConfig,
    MultiLabelConfig,
    RegressionConfig,
)
from models.masking_model import MaskedNodeModel
from models.multilabel_model import MultiLabelModel
from models.pretrain_model import DenoisePretrainModel, DenoisePretrainModelWithBlockEmbedding
from models.prot_interface_model import ProteinInterfaceModel

ModelMaker = Callable[[RunConfig, Vocabulary], Any]


def encoder_values(run: RunConfig, vocabulary: Vocabulary) -> dict[str, Any]:
    """What the configurations of all models have in common."""
    return vars(run.encoder) | {"num_block_types": vocabulary.size}


def pretraining_model(run: RunConfig, vocabulary: Vocabulary) -> Any:
    """A head for each noise that is on."""
    noise = run.noise
    values: dict[str, Any] = encoder_values(run, vocabulary) | {
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


def affinity_model(run: RunConfig, vocabulary: Vocabulary) -> AffinityPredictor:
    """Energies of blocks, summed."""
    head = run.head
    return AffinityPredictor(
        AffinityConfig(
            **encoder_values(run, vocabulary),
            **vars(run.block_embedding),
            nonlinearity=head.pred_nonlinearity,
            num_affinity_pred_layers=head.num_pred_layers,
            affinity_pred_dropout=head.pred_dropout,
            affinity_pred_hidden_size=head.pred_hidden_size,
            num_targets=run.head.num_targets or 1,
        )
    )


def regression_model(run: RunConfig, vocabulary: Vocabulary) -> RegressionPredictor:
    """Numbers from the representation of the complex; its head has the encoder's width and dropout."""
    return RegressionPredictor(
        RegressionConfig(**encoder_values(run, vocabulary), num_targets=run.head.num_targets or 1)
    )


def binary_model(run: RunConfig, vocabulary: Vocabulary) -> ClassifierModel:
    """Two classes."""
    head = run.head
    return ClassifierModel(
        ClassifierConfig(
            **encoder_values(run, vocabulary),
            nonlinearity=head.pred_nonlinearity,
            num_pred_layers=head.num_pred_layers,
            pred_dropout=head.pred_dropout,
            pred_hidden_size=head.pred_hidden_size,
        )
    )


def multiclass_model(run: RunConfig, vocabulary: Vocabulary) -> MultiClassClassifierModel:
    """Several classes; `train.py` counts them in the data when the option is left out."""
    classes = run.head.num_classifier_classes
    if classes is None:
        raise ConfigError("is needed where there are no data to count the classes in", "--num_classifier_classes")
    return MultiClassClassifierModel(MultiClassConfig(**encoder_values(run, vocabulary), num_classes=classes))


def multilabel_model(run: RunConfig, vocabulary: Vocabulary) -> MultiLabelModel:
    """Labels of which any number may hold; `train.py` finds them in the data when the option is left out."""
    head = run.head
    if run.label.targets is None:
        raise ConfigError("is needed where there are no data to find the labels in", "--targets")
    return MultiLabelModel(
        MultiLabelConfig(
            **encoder_values(run, vocabulary),
            labels=tuple(run.label.targets.split(",")),
            nonlinearity=head.pred_nonlinearity,
            num_pred_layers=head.num_pred_layers,
            pred_dropout=head.pred_dropout,
            pred_hidden_size=head.pred_hidden_size,
        )
    )


def masking_model(run: RunConfig, vocabulary: Vocabulary) -> MaskedNodeModel:
    """Types of masked blocks."""
    classes = vocabulary.n_mask_classes
    return MaskedNodeModel(MaskedNodeConfig(**encoder_values(run, vocabulary), num_masked_block_classes=classes))


def interface_model(run: RunConfig, vocabulary: Vocabulary) -> ProteinInterfaceModel:
    """One side finds the complex it belongs to."""
    return ProteinInterfaceModel(InterfaceConfig(prot_model=EncoderConfig(**encoder_values(run, vocabulary))))


TASK_MODELS: dict[str, ModelMaker] = {
    "pretrain_torsion": pretraining_model,
    "pretrain_torsion_masking": pretraining_model,
    "pretrain_gaussian": pretraining_model,
    "PDBBind": affinity_model,
    "regression": regression_model,
    "binary_classifier": binary_model,
    "multiclass_classifier": multiclass_model,
    "multilabel": multilabel_model,
    "masking": masking_model,
    "prot_interface": interface_model,
}
"""Task of a run -> what makes its new model."""
