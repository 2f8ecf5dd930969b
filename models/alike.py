"""Whether several models can be one ensemble: the same kind of model, for the same labels and kinds of complexes."""

from collections.abc import Iterator, Sequence
from typing import Any

from configs.errors import CheckpointError
from models.answers import Answer, answers_of, scales_of, seen_kinds_of
from models.fingerprint import fingerprint
from models.kernel_model import KernelModel
from models.named import vocabulary_of


def check_alike(models: Sequence[Any], transformed: bool = False) -> None:
    """Refuse an ensemble of unlike models.

    Weights, sizes and the mean and deviation of labels may differ, as they do between folds and seeds.

    Args:
        transformed: as of `answers_of`.

    Raises:
        CheckpointError: with the names of two models and what sets them apart.
    """
    first = models[0]
    for other in models[1:]:
        for mine, theirs in differences(first, other, transformed):
            if mine != theirs:
                what = f"{first.source} and {other.source} make no ensemble: the first {mine}, the second {theirs}"
                hint = "an ensemble has one kind of model, fitted to one kind of label, in one unit"
                raise CheckpointError(what, "--checkpoint", hint=hint)


def differences(first: Any, other: Any, transformed: bool) -> Iterator[tuple[str, str]]:
    """What each of two models is or does, in words that are equal where it makes no difference."""
    two = first, other
    yield f"is of type {type(first).__name__}", f"is of type {type(other).__name__}"
    yield tuple(f"predicts {described(answers_of(model, transformed))}" for model in two)  # type: ignore[misc]
    yield tuple(f"learned labels after {transforms(model)}" for model in two)  # type: ignore[misc]
    yield tuple(f"has the vocabulary {vocabulary_of(model)}" for model in two)  # type: ignore[misc]
    if isinstance(first, KernelModel):
        encoders = [fingerprint(model.frozen) for model in two]
        yield tuple(f"is fitted on the representations of encoder {one}" for one in encoders)  # type: ignore[misc]
    kinds = [seen_kinds_of(model) for model in two]
    if kinds[0] and kinds[1] and not kinds[0] & kinds[1]:
        yield tuple(f"was fitted to complexes of kind {', '.join(sorted(some))}" for some in kinds if some)  # type: ignore[misc]


def transforms(model: Any) -> str:
    """The transforms of the labels of each target."""
    found = [scale.transform for scale in scales_of(model) if scale is not None and scale.transform != "none"]
    return ", ".join(found) or "no transform"


def described(answers: Sequence[Answer]) -> str:
    """Targets in words; those of labels whatever their order."""
    parted = [" or ".join(one.classes) or ", ".join(sorted(one.labels)) for one in answers]
    return ", ".join(f"{one.name}: {names}" if names else one.name for one, names in zip(answers, parted))
