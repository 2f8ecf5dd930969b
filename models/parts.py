"""Which parameter belongs to what: the encoder that all models share, or the head of a task."""

import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Literal

from torch import nn

from configs.errors import ConfigError

Role = Literal["encoder", "head", "fixed"]

ENCODER = (
    *("block_embedding.", "edge_embedding_bottom.", "edge_embedding_top.", "modality_embedding."),
    *("encoder.encoder.edge_embedder.", "encoder.encoder.layers.", "encoder.encoder.out_ffn."),
    *("encoding.", "taxonomy.", "trunk."),
    *("top_encoder.", "atom_block_attn.", "atom_block_attn_norm.", "attention_pooling."),
)
"""The parts of models.backbone.Backbone and the body of the composition model; noise heads lie in `encoder.encoder`."""
FIXED = "cmplx_model."
"""The encoder of whole complexes in the interface model: never trained (parity SPEC 7)."""
PARAMETRIZED, ORIGINAL = ".parametrizations.", ".original"


def role(name: str) -> Role:
    """What a parameter belongs to. The head is all that the plain encoder lacks: the networks of the task, noise heads,
    and the projectors of external block vectors."""
    name = plain_name(name)
    if name.startswith(FIXED):
        return "fixed"
    return "encoder" if name.removeprefix("prot_model.").startswith(ENCODER) else "head"


def plain_name(name: str) -> str:
    """The name of a parameter as if there were no adapters (models.adapters).

    Example:
        >>> plain_name("fc.0.parametrizations.weight.original"), plain_name("fc.0.parametrizations.weight.0.lora_A")
        ('fc.0.weight', 'fc.0.weight.lora_A')
    """
    module, found, rest = name.rpartition(PARAMETRIZED)
    if not found:
        return name
    tensor, _, inside = rest.partition(".")
    tail = "" if f".{inside}" == ORIGINAL else "." + inside.partition(".")[2]
    return f"{module}.{tensor}{tail}"


def is_adapter(plain: str) -> bool:
    """Whether a plain name is that of an adapter's matrix."""
    return plain.rpartition(".")[2] in ("lora_A", "lora_B")


def trainable_by_name(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters by plain name, without those that never train."""
    return {plain_name(name): p for name, p in model.named_parameters() if role(name) != "fixed"}


def matching(names: Iterable[str], patterns: Sequence[str], option: str) -> tuple[str, ...]:
    """The names that match any of the shell patterns, in their own order.

    Raises:
        ConfigError: a pattern that matches none, with the nearest names.
    """
    names = tuple(names)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(f"no parameter is named {pattern!r}", option, hint=nearest_names(pattern, names))
    return tuple(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))


def nearest_names(pattern: str, names: Sequence[str]) -> str:
    """A hint: the names, or beginnings of names, that are closest to a pattern."""
    beginnings = {".".join(name.split(".")[:n]) + ".*" for name in names for n in range(1, name.count(".") + 1)}
    close = difflib.get_close_matches(pattern, sorted(beginnings | set(names)), n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    first = dict.fromkeys(name.split(".")[0] + (".*" if "." in name else "") for name in names)
    return f"names begin with {', '.join(first)}"
