"""A batch whose arrays contradict each other is refused by name, before anything is computed."""

import pytest
import torch
from complexes import SMALL, joined, small_config, some_complexes

from configs.errors import DataError
from models import DenoisePretrainModel, ProteinInterfaceModel, create_model


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    return joined(some_complexes(2))


def changed(values: torch.Tensor, place: int, value: int) -> torch.Tensor:
    values = values.clone()
    values[place] = value
    return values


WRONG = {
    "flat coordinates": (lambda b: {"X": b["X"].flatten()}, r"X has shape \(\d+,\)"),
    "two coordinates": (lambda b: {"X": b["X"][:, :2]}, r"X has shape \(\d+, 2\)"),
    "types in a column": (lambda b: {"B": b["B"][:, None]}, r"B has shape \(\d+, 1\)"),
    "fewer atoms": (lambda b: {"A": b["A"][1:]}, r"X has \d+ and A \d+ atoms"),
    "a third segment": (lambda b: {"segment_ids": changed(b["segment_ids"], 3, 2)}, r"segment_ids has 2 at 3, not 0"),
    "segment -1": (lambda b: {"segment_ids": b["segment_ids"] - 1}, r"segment_ids has -1 at 0"),
    "an empty block": (
        lambda b: {"block_lengths": changed(b["block_lengths"], 2, 0)},
        "block_lengths says 0 atoms at 2",
    ),
    "a long block": (lambda b: {"block_lengths": b["block_lengths"] + 1}, r"block_lengths sum to \d+, but there are"),
    "an empty complex": (lambda b: {"lengths": torch.cat([b["lengths"], b["lengths"][:1] * 0])}, "says 0 blocks at 2"),
    "no complex": (lambda b: {name: b[name][:0] for name in BASIC}, "holds no complex"),
    "an unknown atom": (lambda b: {"A": changed(b["A"], 5, 121)}, "A has 121 at 5, not 0 to 120"),
    "an unknown block": (lambda b: {"B": changed(b["B"], 4, 40)}, "B has 40 at 4, not 0 to 39"),
    "a bond to nowhere": (lambda b: {"tor_edges": b["tor_edges"] + len(b["A"])}, r"tor_edges has \d+ at 0"),
    "bonds out of order": (
        lambda b: {"tor_batch": b["tor_batch"].flip(0)},
        "tor_batch goes back to an earlier complex",
    ),
    "a bond too few": (lambda b: {"tor_score": b["tor_score"][1:]}, r"tor_edges has shape .*, tor_score"),
    "a label too few": (lambda b: {"masked_labels": b["masked_labels"][1:]}, "marks 2 blocks, masked_labels has 1"),
}
BASIC = ("X", "A", "B", "block_lengths", "segment_ids", "lengths")


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_batch_is_named(name: str, batch: dict[str, torch.Tensor]) -> None:
    change, told = WRONG[name]
    with pytest.raises(DataError, match=f"batch: .*{told}"):
        DenoisePretrainModel(small_config()).infer(batch | change(batch))


def test_whole_numbers_of_any_kind_and_lists_are_the_same_batch(batch: dict[str, torch.Tensor]) -> None:
    model = create_model("PredictionModel", **SMALL)
    wanted = model.infer(batch).graph_repr
    plain = {name: batch[name] for name in BASIC}
    for other in (
        {name: v if v.is_floating_point() else v.int() for name, v in plain.items()},
        {name: v if v.is_floating_point() else v.short() for name, v in plain.items()},
        {name: v.numpy() for name, v in plain.items()},
        {name: v.tolist() for name, v in plain.items()},
        {name: torch.stack([v, v], -1)[..., 0] for name, v in plain.items()},
        plain | {"X": plain["X"].double()},
        plain | {"label": None, "modality": None},
    ):
        assert torch.equal(model.infer(other).graph_repr, wanted)
        assert model.infer(other).graph_repr.dtype == torch.float32


def test_keywords_beside_a_batch_are_not_swallowed(batch: dict[str, torch.Tensor]) -> None:
    for model in (create_model("PredictionModel", **SMALL), ProteinInterfaceModel(ProteinInterfaceModel.Config())):
        with pytest.raises(DataError, match="batch: stands beside the keywords return_loss"):
            model(batch, return_loss=False)
