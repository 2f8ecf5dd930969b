"""Scores of blocks: the same batched and one by one, whatever the model, and with the meaning that they promise."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from complexes import SMALL

from configs.errors import ConfigError, DataError
from data.collate import collate_items
from data.inputs import InputOptions, open_inputs
from data.item import Item
from data.masking import apply_mask
from data.vocab import ATOM_MASK, MASK
from models import create_model, from_pretrained
from models.explain import block_importance
from models.named import pool_segments, segments_of

ATOMS_OF_BLOCK = 6
ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("INTERFACE_DATA", ROOT.parent / "shared" / "data"))


def make_item(blocks: tuple[int, int] = (9, 7), seed: int = 0, widest: int = ATOMS_OF_BLOCK) -> Item:
    """Two clouds of blocks in contact; the second block is of unknown type."""
    rng = np.random.default_rng(seed)
    n = sum(blocks)
    lengths = rng.integers(1, widest + 1, n).astype(np.int32)
    segments = np.repeat(np.arange(2, dtype=np.uint8), blocks)
    centres = 4.0 * rng.standard_normal((n, 3)) + np.outer(segments, [5.0, 0, 0])
    X = np.repeat(centres, lengths, 0) + rng.standard_normal((int(lengths.sum()), 3))
    types = rng.integers(4, 40, n).astype(np.uint16)
    types[1] = 2
    A = rng.integers(3, 20, len(X)).astype(np.uint8)
    return Item(id=f"cloud{seed}", X=X.astype(np.float32), A=A, B=types, block_lengths=lengths, segment_ids=segments)


def model_of(name: str = "PredictionModel", **changes):
    torch.manual_seed(0)
    return create_model(name, **(SMALL | {"padding": "own"} | changes)).double().eval()


def masked(item: Item, block: int) -> Item:
    return apply_mask(item, np.arange(item.n_blocks) == block)


def predicted(model, item: Item) -> torch.Tensor:
    batch = collate_items([item]).to_dict()
    return model.infer({name: value for name, value in batch.items() if name != "label"}).pred[0]


SETTINGS = [
    {},
    {"padding": "masked"},
    {"global_message_passing": False},
    {"bottom_global_message_passing": True},
    {"unknown_blocks": "global"},
    {"n_layers": 1},
    {"n_layers": 4},
    {"conv": "channelwise"},
    {"k_neighbors": 9},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_scores_are_those_of_one_forward_pass_a_block(settings: dict) -> None:
    model, item = model_of(**settings), make_item()
    with torch.no_grad():
        before, *after = (
            model.encode(collate_items([each])).graph_repr
            for each in (item, *(masked(item, block) for block in range(item.n_blocks)))
        )
    expected = 1 - F.cosine_similarity(before, torch.cat(after))
    score = block_importance(model, item).score
    np.testing.assert_allclose(score, expected, atol=1e-7, rtol=0)
    assert score.max() > 1e-5


@pytest.mark.parametrize("segment", [0, 1])
def test_a_side_is_scored_by_its_own_pooled_blocks(segment: int) -> None:
    model, item = model_of(), make_item()

    def side(each: Item) -> torch.Tensor:
        with torch.no_grad():
            found = model.encode(collate_items([each]))
            return pool_segments(model, found)[segments_of(found)[:, 1] == segment]

    after = torch.cat([side(masked(item, block)) for block in range(item.n_blocks)])
    expected = 1 - F.cosine_similarity(side(item), after)
    score = block_importance(model, item, target=f"segment{segment}").score
    np.testing.assert_allclose(score, expected, atol=1e-7, rtol=0)


@pytest.mark.parametrize("blocks", [(1, 6), (2, 2), (12, 1)], ids=str)
def test_sides_of_few_atoms_keep_fewer_neighbours(blocks: tuple[int, int]) -> None:
    model = model_of()
    for seed in range(3):
        item = make_item(blocks, seed, widest=3)
        with torch.no_grad():
            vectors = [model.encode(collate_items([each])).graph_repr for each in (item, masked(item, 0))]
        expected = 1 - float(F.cosine_similarity(*vectors))
        assert block_importance(model, item).score[0] == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    "settings", [{"n_layers": 4}, {"n_layers": 4, "conv": "channelwise"}, {"k_neighbors": 9}], ids=str
)
def test_tolerance_leaves_out_only_what_hardly_feels_a_mask(settings: dict) -> None:
    model, item = model_of(**settings), make_item((30, 25))
    exact, nearly, about = (block_importance(model, item, tolerance=t).score for t in (0.0, 1e-9, 0.1))
    np.testing.assert_allclose(nearly, exact, atol=1e-9)
    assert 1e-9 < np.abs(about - exact).max() < 0.05 * exact.max()


@pytest.mark.parametrize("number", range(3))
def test_far_atoms_are_not_computed_with_a_tolerance(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a long interface most of what a mask reaches hardly feels it; masks themselves are computed always."""
    model, item = model_of(n_layers=3), make_item((30, 25), seed=number)
    net, rows = model.encoder.encoder, {}
    step = net.step

    def counted(layer: int, receivers: torch.Tensor, *more: object) -> torch.Tensor:
        rows.setdefault(tolerance, []).append(len(receivers))
        return step(layer, receivers, *more)

    monkeypatch.setattr(net, "step", counted)
    for tolerance in (0.0, 0.1, 1e9):
        block_importance(model, item, tolerance=tolerance)
    exact, about, least = (rows[tolerance][3:] for tolerance in (0.0, 0.1, 1e9))
    assert about[0] == exact[0] and sum(about) < 0.9 * sum(exact)
    assert least[1:] == [item.n_blocks] * 2


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason="no real data")
def test_of_real_interfaces_a_tolerance_errs_by_a_few_hundredths_of_the_largest_score() -> None:
    model = from_pretrained(ROOT / "checkpoints" / "pretrain_small").eval()
    source = InputOptions(DATA / "pretrain" / "structures" / "11as.pdb.gz", chain1="A", chain2="B")
    (item,) = (entry.item for entry in open_inputs(source))
    exact, about = (block_importance(model, item, tolerance=t).score for t in (0.0, 0.1))
    assert np.abs(about - exact).max() < 0.05 * exact.max()
    assert len(set(about.argsort()[-10:]) & set(exact.argsort()[-10:])) >= 9


def test_chunks_do_not_change_scores() -> None:
    model, item = model_of(), make_item()
    whole, few = (block_importance(model, item, max_blocks=blocks).score for blocks in (4000, 40))
    np.testing.assert_allclose(whole, few, atol=1e-12)


def test_float32_scores_are_those_of_float64() -> None:
    item = make_item()
    exact, single = (block_importance(model, item).score for model in (model_of(), model_of().float()))
    np.testing.assert_allclose(single, exact, atol=1e-6)


@pytest.mark.parametrize("name", ["AffinityPredictor", "RegressionPredictor", "ClassifierModel"])
def test_a_prediction_is_scored_by_how_much_a_block_raises_it(name: str) -> None:
    model, item = model_of(name), make_item()
    found = block_importance(model, item, target="prediction")
    before, *after = (
        float(predicted(model, each)) for each in (item, *(masked(item, b) for b in range(item.n_blocks)))
    )
    assert found.value == pytest.approx(before)
    np.testing.assert_allclose(found.score, before - np.array(after), atol=1e-7)


def test_of_several_classes_the_predicted_one_is_scored() -> None:
    model, item = model_of("MultiClassClassifierModel", num_classes=5), make_item()
    probabilities = predicted(model, item)
    assert block_importance(model, item, target="prediction").value == pytest.approx(float(probabilities.max()))
    assert block_importance(model, item, target="prediction", output=2).value == pytest.approx(float(probabilities[2]))


@pytest.mark.parametrize(
    ("name", "settings", "outputs"),
    [("MultiClassClassifierModel", {"num_classes": 5}, 5), ("ClassifierModel", {}, 2), ("AffinityPredictor", {}, 1)],
)
def test_each_output_is_explained_by_its_number_and_no_other_is(name: str, settings: dict, outputs: int) -> None:
    model, item = model_of(name, **settings), make_item()
    values = [block_importance(model, item, target="prediction", output=n).value for n in range(outputs)]
    expected = predicted(model, item).flatten().tolist()
    assert values == pytest.approx([1 - expected[0], expected[0]] if name == "ClassifierModel" else expected)
    for number in (-1, outputs):
        with pytest.raises(ConfigError, match=f"--output, {number}: is not among outputs 0 to {outputs - 1}"):
            block_importance(model, item, target="prediction", output=number)


def test_external_vectors_of_a_masked_block_are_zero() -> None:
    item = make_item()
    item = item.with_(block_embeddings=np.random.default_rng(1).standard_normal((item.n_blocks, 5)).astype(np.float32))
    model = model_of("AffinityPredictor", block_embedding_size=5)
    score = block_importance(model, item, target="prediction").score
    before, after = (float(predicted(model, each)) for each in (item, masked(item, 3)))
    assert score[3] == pytest.approx(before - after, abs=1e-7)


def test_the_gradient_method_is_the_slope_towards_a_masked_block() -> None:
    """Moving the types' embeddings a little towards those of the mask changes the prediction as the scores say."""
    model, item, step = model_of("AffinityPredictor"), make_item(), 1e-6
    scores = block_importance(model, item, target="prediction", method="gradient").score
    before = float(predicted(model, item))
    tables = model.block_embedding
    with torch.no_grad():
        for table, mask, used in (
            (tables.block_embedding, MASK, np.unique(item.B)),
            (tables.atom_embedding, ATOM_MASK, np.unique(item.A)),
        ):
            rows = torch.from_numpy(used.astype(np.int64))
            table.weight[rows] += step * (table.weight[mask] - table.weight[rows])
    after = float(predicted(model, item))
    assert scores.sum() == pytest.approx((before - after) / step, rel=1e-4)
    assert np.abs(scores).max() > 1e-6


def test_gradients_leave_the_model_as_it_was() -> None:
    model, item = model_of(), make_item()
    first = next(model.parameters()).requires_grad_(False)
    score = block_importance(model, item, method="gradient").score
    assert (score > 0).all()
    assert not first.requires_grad and all(weight.requires_grad for weight in list(model.parameters())[1:])
    np.testing.assert_array_equal(score, block_importance(model, item, method="gradient").score)


def test_what_cannot_be_explained_is_refused() -> None:
    item = make_item()
    with pytest.raises(ConfigError, match="needs a model with a head"):
        block_importance(model_of(), item, target="prediction")
    with pytest.raises(ConfigError, match="mix the masked copies"):
        block_importance(model_of(padding="batch"), item)
    half = int(item.block_lengths[item.segment_ids == 0].sum())
    single = item.with_(
        **{name: getattr(item, name)[:half] for name in ("X", "A")},
        **{name: getattr(item, name)[:9] for name in ("B", "block_lengths", "segment_ids")},
    )
    with pytest.raises(DataError, match="has no segment1"):
        block_importance(model_of(), single, target="segment1")
    assert len(block_importance(model_of(), single).score) == 9
