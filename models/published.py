"""Models written as the published program stores them: its configuration keys, its weights, its library's constants."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from configs.errors import CheckpointError
from configs.files import atomic_write, write_json
from data.vocab import N_PUBLISHED_MODALITIES, load_vocabulary
from models.layers.convolution import Convolution
from models.layers.paths import TensorProductPaths
from models.layers.wigner import wigner_3j

PUBLISHED_CONFIG, PUBLISHED_WEIGHTS = "config.json", "weights.pt"
ENCODER_KEYS = (
    *("atom_hidden_size", "block_hidden_size", "edge_size", "n_layers", "dropout", "k_neighbors"),
    *("global_message_passing", "bottom_global_message_passing", "fragmentation_method"),
)
DENOISE_KEYS = (
    *("atom_noise", "translation_noise", "rotation_noise", "torsion_noise"),
    *("atom_weight", "translation_weight", "rotation_weight", "torsion_weight", "mask_weight"),
    *("modality_embedding", "num_masked_block_classes"),
)
BLOCK_EMBEDDING_KEYS = (
    *("num_projector_layers", "projector_dropout", "projector_hidden_size"),
    *("block_embedding_size", "block_embedding0_size", "block_embedding1_size"),
)
AFFINITY_KEYS = ("nonlinearity", "num_affinity_pred_layers", "affinity_pred_dropout", "affinity_pred_hidden_size")
PUBLISHED_KEYS: dict[str, tuple[str, ...]] = {
    "PredictionModel": (),
    "DenoisePretrainModel": DENOISE_KEYS,
    "DenoisePretrainModelWithBlockEmbedding": DENOISE_KEYS + BLOCK_EMBEDDING_KEYS,
    "AffinityPredictor": AFFINITY_KEYS + BLOCK_EMBEDDING_KEYS,
    "ClassifierModel": ("num_pred_layers", "nonlinearity", "pred_dropout", "pred_hidden_size"),
    "MultiClassClassifierModel": ("num_classes",),
    "RegressionPredictor": (),
    "MaskedNodeModel": ("num_masked_block_classes",),
}
"""Keys of each model type beside those of the encoder; ProteinInterfaceModel nests a PredictionModel instead."""
NESTED = "prot_model"
UNTOLD_BEHAVIOUR = {"padding": "batch", "unknown_blocks": "global", "torsion_neighbors": "first", "snap_centre": False}
"""What the published program always does, by the names of our options."""
PUBLISHED_VOCABULARIES = (None, "none", "PS_300")
TORSION_AXIS = "final_tp_tor"
TORSION_AXIS_WIDTH = 45
TORSION_AXIS_CONSTANTS = ((0, 2, 2), *((1, 2, l) for l in (1, 2, 3)), *((2, 2, l) for l in (0, 1, 2, 3, 4)))
"""Tensor product of the harmonics (0e, 1o, 2e) of an edge with those (2e) of the torsion axis: width, constants."""


def save_published(model: nn.Module, folder: str | Path) -> list[str]:
    """Write config.json and weights.pt (a flat map of tensors) for the published program.

    Returns:
        One sentence for each of our options that the published program does not have and will not follow.

    Raises:
        CheckpointError: the model has something that the published program can't express; nothing is written.
    """
    folder = Path(folder)
    config, notes = published_config(model.config_dict())  # type: ignore[operator]
    state, more = published_state(model)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    atomic_write(folder / PUBLISHED_WEIGHTS, buffer.getvalue())
    write_json(folder / PUBLISHED_CONFIG, config)
    return notes + more


def published_config(config: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A configuration with the published keys only, and a sentence for each behaviour that gets lost.

    Raises:
        CheckpointError: an option that changes the weights and is unknown to the published program.
    """
    name = config["model_type"]
    if NESTED in config:
        inner, notes = published_config({"model_type": "PredictionModel", **config[NESTED]})
        return {"model_type": name, NESTED: inner}, notes
    if name not in PUBLISHED_KEYS:
        raise CheckpointError(f"the published program has no model {name!r}", "model_type")
    keys = ENCODER_KEYS + PUBLISHED_KEYS[name]
    if config.get("modality_embedding") and "modality_embedding" not in keys:
        raise CheckpointError(f"the published {name} has no modality embedding", "modality_embedding")
    if config.get("num_targets", 1) != 1:
        raise CheckpointError(f"the published {name} predicts one target", "num_targets")
    if config.get("conv", "full") != "full":
        raise CheckpointError("the published program has only full tensor products", "conv")
    method = config["fragmentation_method"]
    if method not in PUBLISHED_VOCABULARIES:
        raise CheckpointError("the published program has no such vocabulary", f"fragmentation_method {method}")
    expected = load_vocabulary(method).size
    if config.get("num_block_types") not in (None, expected):
        raise CheckpointError(f"the published program makes {expected} block types of it", "fragmentation_method")
    out = {key: config[key] for key in keys} | {"model_type": name}
    if method == "none":
        out["fragmentation_method"] = None
    notes = []
    if out.get("nonlinearity", "relu") != "relu":
        notes = [f"nonlinearity was {out['nonlinearity']!r}; the published program stores null and can't read it back"]
        out["nonlinearity"] = None
    lost = [(key, config[key], value) for key, value in UNTOLD_BEHAVIOUR.items() if config.get(key, value) != value]
    notes += [f"{key} was {ours!r}; the published program behaves as {theirs!r}" for key, ours, theirs in lost]
    return out, notes


def published_state(model: nn.Module) -> tuple[dict[str, Tensor], list[str]]:
    """The weights under the published names, constants of the tensor-product library included, and notes."""
    state = {name: value.detach().cpu().float().clone() for name, value in model.state_dict().items()}
    state |= dict(library_constants(model))
    notes = []
    for name, rows in state.items():
        if name.endswith("modality_embedding.weight") and len(rows) > N_PUBLISHED_MODALITIES:
            notes.append(f"of {len(rows)} kinds of complexes, the {N_PUBLISHED_MODALITIES} published ones are kept")
            state[name] = rows[:N_PUBLISHED_MODALITIES].clone()
    return state, notes


def library_constants(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Buffers that e3nn 0.6 keeps in a state dict beside the parameters (parity SPEC 8)."""
    for name, module in model.named_modules():
        if isinstance(module, Convolution):
            yield from _of_convolution(f"{name}.tp", module.paths, copied=name.startswith(f"{NESTED}."))
        if hasattr(module, "tor_bond_conv"):
            axis = f"{name}.{TORSION_AXIS}"
            yield f"{axis}.weight", torch.zeros(0)
            yield f"{axis}.output_mask", torch.ones(TORSION_AXIS_WIDTH)
            for degrees in TORSION_AXIS_CONSTANTS:
                yield _wigner_name(axis, degrees), wigner_3j(*degrees).float()


def _of_convolution(name: str, paths: TensorProductPaths, copied: bool) -> Iterator[tuple[str, Tensor]]:
    """Constants of one convolution; a scalar on any side of a path needs none.

    Args:
        copied: as in recorded interface models, whose trained half is a copy of an encoder: for every path it also has
            the constant times the path's factor.
    """
    yield f"{name}.weight", torch.zeros(0)
    yield f"{name}.output_mask", torch.ones(paths.space_out.width)
    number = 0
    for degrees, factor in paths.couplings():
        if 0 in degrees:
            continue
        yield _wigner_name(name, degrees), wigner_3j(*degrees).float()
        if copied:
            yield f"{name}._compiled_main_left_right._tensor_constant{number}", (factor * wigner_3j(*degrees)).float()
            number += 1


def _wigner_name(name: str, degrees: tuple[int, int, int]) -> str:
    return f"{name}._compiled_main_left_right._w3j_{'_'.join(map(str, degrees))}"
