"""The kernel model: its features are those of each interface alone, and what is stored predicts as what was fitted."""

from pathlib import Path

import numpy as np
import pytest
import torch

from configs.errors import CheckpointError, ConfigError
from data.collate import collate_items
from data.descriptors import NAMES, descriptors
from data.item import Item
from models import KernelModel, from_pretrained, load_weights_into
from models.config import EncoderConfig
from models.kernel_model import KernelConfig, frozen_encoder, items_of, representations
from models.prediction_model import PredictionModel

SMALL = EncoderConfig(atom_hidden_size=8, block_hidden_size=8, edge_size=8, n_layers=1, k_neighbors=3)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def item(seed: int) -> Item:
    """Three residues on one side and two on the other."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 7, 5).astype(np.int32)
    segment = np.array([0, 0, 0, 1, 1], np.uint8)
    X = rng.normal(size=(lengths.sum(), 3)) * 3 + np.repeat(segment, lengths)[:, None] * 5
    return Item(
        id=str(seed),
        X=X.astype(np.float32),
        A=rng.choice([8, 9, 10], lengths.sum()).astype(np.uint8),
        B=rng.integers(4, 24, 5).astype(np.uint16),
        block_lengths=lengths,
        segment_ids=segment,
        modality=0,
    )


def turned_round(one: Item) -> Item:
    """The same with its sides named the other way round."""
    blocks = np.argsort(1 - one.segment_ids.astype(int), kind="stable")
    atoms = np.argsort(1 - one.segment_of_atom.astype(int), kind="stable")
    moved = {name: getattr(one, name)[blocks] for name in ("B", "block_lengths")}
    return one.with_(X=one.X[atoms], A=one.A[atoms], segment_ids=1 - one.segment_ids[blocks], **moved)


N = len(NAMES)
ITEMS = [item(seed) for seed in range(4)]


def model_of(n_supports: int = 3) -> KernelModel:
    torch.manual_seed(0)
    model = KernelModel(KernelConfig(encoder=SMALL, n_supports=n_supports, n_members=2)).eval()
    for values in (model.supports, model.weights, model.intercepts, model.widths):
        values.data.normal_().abs_()
    model.order_slope.fill_(2.0)
    return model


def test_a_batch_gives_its_interfaces_back() -> None:
    for before, after in zip(ITEMS, items_of(collate_items(ITEMS)), strict=True):
        for name in ("X", "A", "B", "block_lengths", "segment_ids"):
            np.testing.assert_array_equal(getattr(before, name), getattr(after, name))


def test_features_are_descriptors_and_representations() -> None:
    model, batch = model_of(), collate_items(ITEMS)
    numbers, vectors, lead = model.features(batch)
    plain = np.array([descriptors(one) for one in ITEMS])
    assert numbers.numpy() == pytest.approx(np.sign(plain) * np.log1p(np.abs(plain)))
    assert lead.numpy() == pytest.approx(
        [np.log(np.divide(*(one.block_lengths[one.segment_ids == side].sum() for side in (0, 1)))) for one in ITEMS]
    )
    found = model.frozen.encode(batch)
    own = found.block_repr[(batch["B"] != 3) & (batch["segment_ids"] == 1)][:2]
    assert vectors.shape == (4, 5 * 8)
    assert vectors[0, :8].numpy() == pytest.approx(found.graph_repr[0].detach().numpy(), abs=1e-6)
    assert vectors[0, 24:32].numpy() == pytest.approx(own.mean(0).detach().numpy(), abs=1e-6)
    assert vectors[0, 32:].numpy() == pytest.approx(own.std(0, correction=0).detach().numpy(), abs=1e-5)


def test_a_segment_without_blocks_has_zeros() -> None:
    model, batch = model_of(), collate_items([ITEMS[0].with_(segment_ids=np.zeros(5, np.uint8))])
    assert representations(batch, model.frozen.encode(batch))[0, 24:].abs().max() < 1e-5


def test_a_prediction_is_the_mean_of_weighted_sums_of_likenesses() -> None:
    """As named with a share by the sizes of the sides, the other way round with the rest."""
    model, batch = model_of(), collate_items(ITEMS)
    found, sizes = model.infer(batch), model.features(batch)[2].numpy()
    share = 1 / (1 + np.exp(-2 * sizes))
    other = model.infer(collate_items([turned_round(one) for one in ITEMS])).features
    said = []
    for features in (found.features, other):
        apart = (features[:, None] - model.supports.double()).numpy()
        first, second = np.abs(apart[:, :, :N]).sum(-1), (apart[:, :, N:] ** 2).sum(-1)
        likeness = np.exp(-model.widths.numpy()[:, :1, None] * first - model.widths.numpy()[:, 1:, None] * second)
        said.append(np.einsum("mgs,ms->mg", likeness, model.weights.detach().numpy()))
    members = share * said[0] + (1 - share) * said[1] + model.intercepts.detach().numpy()[:, None]
    assert found.members.numpy() == pytest.approx(members, rel=1e-5)
    assert found.pred.numpy() == pytest.approx(found.members.numpy().mean(0))
    assert not found.pred.requires_grad


def test_the_order_of_the_sides_makes_no_difference() -> None:
    model = model_of()
    found, other = (model.infer(collate_items(items)) for items in (ITEMS, [turned_round(one) for one in ITEMS]))
    assert other.pred.numpy() == pytest.approx(found.pred.numpy(), abs=1e-6)
    assert not np.allclose(other.features.numpy(), found.features.numpy())


def test_what_is_stored_predicts_the_same(tmp_path: Path) -> None:
    model, batch = model_of(), collate_items(ITEMS)
    model.save_pretrained(tmp_path / "kept", {"labels": {"names": ["dG"]}})
    again = from_pretrained(tmp_path / "kept")
    assert isinstance(again, KernelModel)
    assert again.config == model.config
    assert again.infer(batch).pred.tolist() == model.infer(batch).pred.tolist()


def test_the_frozen_encoder_is_that_of_the_model() -> None:
    torch.manual_seed(1)
    pretrained = PredictionModel(SMALL).eval()
    encoder, batch = frozen_encoder(pretrained), collate_items(ITEMS)
    assert torch.equal(encoder.infer(batch).graph_repr, pretrained.infer(batch).graph_repr)


@pytest.mark.parametrize("change", [{"n_supports": 0}, {"n_members": 0}, {"n_descriptors": 7}, {"num_targets": 2}])
def test_a_configuration_that_makes_no_sense_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        KernelConfig(**change)  # type: ignore[arg-type]


def test_a_model_of_absurd_size_is_refused_before_it_is_made(tmp_path: Path) -> None:
    from models.persistence import model_from_config

    values = model_of().config_dict() | {"n_supports": 10**9}
    with pytest.raises(CheckpointError, match=r"max_parameters|limit"):
        model_from_config(values, "config.json")
    values = model_of().config_dict()
    values["encoder"]["atom_hidden_size"] = values["encoder"]["block_hidden_size"] = 10**6
    with pytest.raises(CheckpointError, match=r"max_parameters|limit"):
        model_from_config(values, "config.json")
    assert load_weights_into(model_of(), model_of().state_dict()).new == ()


@pytest.mark.parametrize("name", ["affinity_ppi", "affinity_pl"])
def test_what_is_shipped_answers_alike_for_either_order_of_the_sides(name: str) -> None:
    model = from_pretrained(name)
    assert float(model.order_slope) > 1  # the larger side is named first in the training data
    found, other = (model.infer(collate_items(items)) for items in (ITEMS, [turned_round(one) for one in ITEMS]))
    assert other.pred.numpy() == pytest.approx(found.pred.numpy(), abs=0.01)
    assert np.all((found.pred.numpy() > -21) & (found.pred.numpy() < -3))
