"""Models on disk: ours (safetensors, config.json, checksums) and the published files."""

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from configs.errors import CheckpointError, ConfigError, LigareError
from configs.files import atomic_write, read_json, sha256_of, write_json
from configs.limits import check_limit
from configs.schema import Padding, nearest
from data.vocab import N_PUBLISHED_MODALITIES
from models.adapters import AdapterConfig, adapter_values, add_adapters
from models.backbone import rows_of_modalities
from models.card import CARD, model_card
from models.config import EncoderConfig, Nonlinearity, config_from_dict, estimated_parameters
from models.hub import local_folder
from models.parts import role
from models.weight_files import read_weights
from models.weights_file import weights_bytes

logger = logging.getLogger(__name__)

WEIGHTS, CONFIG, MANIFEST = "model.safetensors", "config.json", "manifest.json"
FORMAT = 1
MODALITIES_TABLE = "modality_embedding.weight"
LIBRARY_CONSTANT = re.compile(r"(\.tp|final_tp_tor)\.(weight|output_mask|_compiled\w*\..*|_w3j.*)$")
"""Entries of published weights that belong to the tensor-product library and hold no parameters."""
DISTANCE_CENTRES = "edge_embedder.0.offset"
"""End of the names of constants that a model makes itself; a file may lack them."""
UNTOLD_BY_WEIGHTS = ("k_neighbors", "global_message_passing", "bottom_global_message_passing", "fragmentation_method")
"""Keys of the encoder whose absence no shape would show."""


@dataclass(frozen=True)
class LoadReport:
    """What became of the weights, by parameter name.

    Attributes:
        loaded: taken over. new: of the model, but not in the file (they keep their initial values).
        left_over: of the file, but not in the model. constants: of the library that wrote the file; of no use.
    """

    loaded: tuple[str, ...]
    new: tuple[str, ...]
    left_over: tuple[str, ...]
    constants: tuple[str, ...] = ()

    def __str__(self) -> str:
        def listed(names: tuple[str, ...]) -> str:
            return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")

        lines = [f"{len(self.loaded)} tensors loaded"]
        lines += [f"{len(self.new)} new (initial values): {listed(self.new)}"] if self.new else []
        lines += [f"{len(self.left_over)} left over: {listed(self.left_over)}"] if self.left_over else []
        return "; ".join(lines)


def save_pretrained(model: nn.Module, folder: str | Path, extra: Mapping[str, Any] | None = None) -> None:
    """Write model.safetensors, config.json, a model card and, last, manifest.json with their checksums.

    A card that was edited since it was made stays as it is.

    Args:
        model: one of models.MODELS.
        extra: JSON-serialisable facts to keep in the manifest and tell on the card (models.card).
    """
    folder = Path(folder)
    facts = dict(extra or {})
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    config = model.config_dict() | adapter_values(model)  # type: ignore[operator]
    atomic_write(folder / WEIGHTS, weights_bytes(state, {"format": "pt", "config": json.dumps(config)}))
    write_json(folder / CONFIG, config)
    checksums = {name: sha256_of(folder / name) for name in (WEIGHTS, CONFIG)}
    card = _write_card(folder, config, {"parameters": sum(p.numel() for p in model.parameters())} | facts)
    write_json(folder / MANIFEST, {"format": FORMAT, "sha256": checksums, "card": card, "extra": facts}, sealed=True)


def update_facts(folder: str | Path, facts: Mapping[str, Any]) -> None:
    """Add facts to those of a stored checkpoint; its weights stay as they are, and with known facts all of it.

    Raises:
        CheckpointError: the folder holds no complete, undamaged checkpoint.
    """
    manifest = read_manifest(folder)
    before = manifest.get("extra", {})
    manifest["extra"] = {**before, **facts}
    if manifest["extra"] != before:
        write_json(Path(folder) / MANIFEST, manifest, sealed=True)


def _write_card(folder: Path, config: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Write the card unless somebody edited the one that is there; returns the checksum of the generated text."""
    text = model_card(config, facts)
    before = read_json(folder / MANIFEST, error=CheckpointError).get("card") if (folder / MANIFEST).is_file() else None
    if not (folder / CARD).is_file() or sha256_of(folder / CARD) == before:
        atomic_write(folder / CARD, text)
    return hashlib.sha256(text.encode()).hexdigest()


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of a checkpoint, after its checksums have been compared.

    Raises:
        CheckpointError: a file is absent, damaged, or of another format.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError("no such folder", folder)
    if not (folder / MANIFEST).exists():
        hint = f"a checkpoint has {WEIGHTS}, {CONFIG} and {MANIFEST}; a run keeps its own in checkpoint/best"
        raise CheckpointError("holds no checkpoint", folder, hint=hint)
    manifest = read_json(folder / MANIFEST, error=CheckpointError)
    if manifest.get("format") != FORMAT:
        raise CheckpointError(f"has format {manifest.get('format')!r}, this program reads {FORMAT}", folder / MANIFEST)
    for name in (WEIGHTS, CONFIG):
        if not (folder / name).is_file():
            raise CheckpointError("no such file", folder / name)
        listed = manifest.get("sha256")
        if sha256_of(folder / name) != (listed.get(name) if isinstance(listed, dict) else None):
            raise CheckpointError("is damaged: its checksum differs from the manifest's", folder / name)
    return manifest


def from_pretrained(source: str | Path, **options: Any) -> Any:
    """The model that `save_pretrained` wrote, in evaluation mode, with the facts stored beside it as `model.facts`.

    Args:
        source: a folder, the name of a shipped checkpoint, or `owner/model` on the hub.
        options: for the hub: revision, token, cache_dir, local_files_only, force_download.

    Raises:
        CheckpointError: the folder holds no complete, undamaged checkpoint of a known model.
    """
    folder = local_folder(source, (WEIGHTS, CONFIG, MANIFEST, CARD), **options)
    manifest = read_manifest(folder)
    model = model_from_config(read_json(folder / CONFIG, error=CheckpointError), folder / CONFIG)
    state = read_weights(folder / WEIGHTS)
    report = load_weights_into(model, state, folder / WEIGHTS, whole=True)
    if report.new or report.left_over:
        raise CheckpointError(f"does not fit {CONFIG}: {report}", folder / WEIGHTS)
    model.facts, model.source = manifest.get("extra", {}), str(source)
    return model.eval()


def load_published(
    config_path: str | Path, weights_path: str | Path, padding: Padding = "own", nonlinearity: Nonlinearity = "gelu"
) -> Any:
    """A model from a published configuration and weights, with the published behaviour, in evaluation mode.

    Unknown blocks are global nodes, torsion bonds take the first neighbours by index; `padding="own"` gives the numbers
    of a batch of one in any batch, `"batch"` those of the published program for the batch as it is. Published
    configurations lose the name of an activation other than relu; `nonlinearity` says which it was.

    Raises:
        CheckpointError: unreadable files, an unknown model type, or weights that do not fit.
    """
    values = read_json(config_path, error=CheckpointError)
    if values.get("model_type") == "ProteinInterfaceModel" and not isinstance(values.get("prot_model"), Mapping):
        raise CheckpointError("lacks prot_model, the configuration of the encoders", config_path)
    state = read_weights(weights_path)
    model = model_from_config(published_values(values, state, padding, nonlinearity), config_path)
    report = load_weights_into(model, state, weights_path, whole=True)
    if report.new or report.left_over:
        raise CheckpointError(f"do not fit {Path(config_path).name}: {report}", weights_path)
    model.source = str(weights_path)
    return model.eval()


def published_values(
    values: Mapping[str, Any], state: Mapping[str, Tensor], padding: Padding, nonlinearity: Nonlinearity = "gelu"
) -> dict[str, Any]:
    """A published configuration with what it leaves unsaid, also inside the interface model's nested one."""
    if isinstance(values.get("prot_model"), Mapping):
        own = {name.removeprefix("prot_model."): value for name, value in state.items()}
        return dict(values) | {"prot_model": published_values(values["prot_model"], own, padding, nonlinearity)}
    for name in UNTOLD_BY_WEIGHTS:
        if name not in values:
            default = getattr(EncoderConfig(), name)
            logger.warning("the published configuration does not say %s: %s", name, json.dumps(default))
    table = state.get("block_embedding.block_embedding.weight")
    unsaid: dict[str, Any] = {
        "padding": padding,
        "unknown_blocks": "global",
        "torsion_neighbors": "first",
        "num_modalities": N_PUBLISHED_MODALITIES,
        "num_block_types": None if table is None else len(table),
    }
    if "Denoise" in str(values.get("model_type")):
        unsaid["snap_centre"] = False
    said = dict(values)
    if "nonlinearity" in said and said["nonlinearity"] is None:
        logger.warning(
            "the published configuration does not say whether its activation is gelu or elu: %s", nonlinearity
        )
        said["nonlinearity"] = nonlinearity
    return unsaid | said


def model_from_config(values: Mapping[str, Any], source: str | Path) -> Any:
    """A new model of the type and configuration that a JSON file names."""
    from models import MODELS

    name = values.get("model_type")
    if not isinstance(name, str) or name not in MODELS:
        raise CheckpointError(f"unknown model_type {name!r}", source, hint=nearest(str(name), MODELS))
    kind: Any = MODELS[name]
    own = {name: value for name, value in values.items() if name != "adapters"}
    try:
        config = config_from_dict(kind.Config, own, str(source))
        size = estimated_parameters(config)
        check_limit("describes a model of about {} numbers", size, "max_parameters", ConfigError, str(source))
        model = kind(config)
        if isinstance(values.get("adapters"), Mapping):
            add_adapters(model, config_from_dict(AdapterConfig, values["adapters"], str(source)))
        return model
    except LigareError as error:
        where = error.where if str(source) in error.where else (str(source), *error.where)
        raise CheckpointError(error.what, *where, hint=error.hint) from error
    except (RuntimeError, ValueError, TypeError, ArithmeticError, MemoryError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"describes a model that can't be made: {said}", source) from error


def load_weights_into(
    model: nn.Module, state: Mapping[str, Tensor], source: str | Path = "weights", whole: bool = False
) -> LoadReport:
    """Load the tensors that model and state have in common, and tell what became of the others.

    What lies outside the encoder (`models.parts.role`) and has the same name but another size (another number of
    classes, say) keeps its initial values and is reported on both sides; everything else must have the model's shape.

    Args:
        whole: the file is one of this very model, so that everything must have the model's shape.

    Raises:
        CheckpointError: a tensor of the same name has another shape.
    """
    mine = model.state_dict()
    state = aligned(state, mine)
    common = []
    for name in mine:
        if name not in state:
            continue
        if mine[name].shape == state[name].shape:
            common.append(name)
        elif whole or role(name) != "head":
            raise CheckpointError(
                f"{name} has shape {tuple(state[name].shape)}, the model wants {tuple(mine[name].shape)}",
                source,
                hint="the sizes of the two configurations differ",
            )
    model.load_state_dict({name: state[name] for name in common}, strict=False)
    loaded = set(common)
    others = [name for name in state if name not in loaded]
    constants = tuple(name for name in others if LIBRARY_CONSTANT.search(name))
    return LoadReport(
        tuple(common),
        tuple(name for name in mine if name not in loaded and not name.endswith(DISTANCE_CENTRES)),
        tuple(name for name in others if name not in constants),
        constants,
    )


def aligned(state: Mapping[str, Tensor], mine: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names and, for the kinds of complex, with the rows that a model has.

    The interface model holds two encoders: it takes a single one for both, and gives that of the protein's side.
    """
    state = dict(state)
    inside, wanted = (any(name.startswith("prot_model.") for name in names) for names in (state, mine))
    if wanted and not inside:
        state = {prefix + name: value for prefix in ("cmplx_model.", "prot_model.") for name, value in state.items()}
    if inside and not wanted:
        state = {name.removeprefix("prot_model."): value for name, value in state.items()}
    for name, value in state.items():
        if name.endswith(MODALITIES_TABLE) and name in mine and len(value) < len(mine[name]):
            state[name] = value[rows_of_modalities(len(value))]
    return state
