"""Trivial predictors: features by hand, groups respected, and nothing learnt from the test labels."""

import numpy as np
import pytest
from test_pretrain_trainer import make_item

from configs.errors import DataError
from data.pairs import one_segment
from data.vocab import AMINO_ACIDS, FIRST_MASKABLE
from models import create_model
from trainers.baseline_features import (
    CONTACT,
    KINDS,
    block_contacts,
    composition,
    contact_counts,
    contact_kinds,
    embeddings,
    kind_of_types,
    sizes,
)
from trainers.baselines import fit_predict, fit_predict_sets, plan
from trainers.pair_baselines import masking_baselines, retrieval_baselines

ITEMS = [make_item(seed, 6 + seed % 3, torsions=False) for seed in range(8)]
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(60, 4))
GROUPS = [f"g{i % 12}" for i in range(60)]


def test_contacts_by_all_distances() -> None:
    found = 0
    for item in ITEMS:
        expected = set()
        for i in np.flatnonzero(item.segment_of_atom == 0):
            for j in np.flatnonzero(item.segment_of_atom == 1):
                if np.linalg.norm(item.X[i] - item.X[j]) <= CONTACT:
                    expected.add((item.block_of_atom[i], item.block_of_atom[j]))
        assert {tuple(pair) for pair in block_contacts(item).tolist()} == expected
        found += len(expected)
    assert found > 0
    assert len(block_contacts(one_segment(ITEMS[0]))) == 0


def test_features_by_hand() -> None:
    item = ITEMS[0]
    assert sizes([item], 20)[0] == pytest.approx(np.log1p([3, 3, 12, 12]))
    assert contact_counts([item], 20)[0, 0] == len(block_contacts(item))
    counts = composition([item], 20)[0]
    for segment in (0, 1):
        for kind in range(20):
            there = (kind == item.B) & (item.segment_ids == segment)
            assert counts[20 * segment + kind] == there.sum()
    kinds = contact_kinds([item], 20)[0]
    assert kinds[: len(KINDS) ** 2].sum() == len(block_contacts(item))
    assert kinds[len(KINDS) ** 2 :].reshape(2, -1).sum(1) == pytest.approx([1, 1])


def test_kinds_of_residues() -> None:
    kinds = kind_of_types(200)
    named = {name: KINDS[kinds[FIRST_MASKABLE + i]] for i, name in enumerate(AMINO_ACIDS)}
    assert (named["ASP"], named["SER"], named["LEU"], named["GLY"]) == ("charged", "polar", "apolar", "apolar")
    assert KINDS[kinds[FIRST_MASKABLE + len(AMINO_ACIDS)]] == "nucleotide"
    assert KINDS[kinds[180]] == "other"


def test_embeddings_do_not_depend_on_the_other_items() -> None:
    small = {"atom_hidden_size": 8, "block_hidden_size": 8, "edge_size": 6, "n_layers": 1, "k_neighbors": 3}
    model = create_model("PredictionModel", **small, num_block_types=40)
    found = embeddings([ITEMS[0], one_segment(ITEMS[1])], model)
    assert found.shape == (2, 5 * 8)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(embeddings([one_segment(ITEMS[1])], model)[0], found[1])
    assert (found[1].reshape(5, 8)[3:] == 0).all()  # nothing is in its second segment


def test_a_linear_rule_is_found_and_the_mean_is_the_mean() -> None:
    labels = FEATURES @ [1.0, -2.0, 0.0, 0.5] + 3
    given = FEATURES[:40], labels[:40], GROUPS[:40], FEATURES[40:]
    np.testing.assert_allclose(fit_predict("linear", "regression", *given), labels[40:], atol=0.2)
    np.testing.assert_allclose(fit_predict("mean", "regression", *given), labels[:40].mean())
    assert np.corrcoef(fit_predict("forest", "regression", *given), labels[40:])[0, 1] > 0.5


def test_missing_labels_are_left_out() -> None:
    labels = FEATURES[:, 0].copy()
    labels[::3] = np.nan
    kept = np.isfinite(labels)
    wanted = fit_predict("linear", "regression", FEATURES[kept], labels[kept], np.array(GROUPS)[kept], FEATURES)
    np.testing.assert_allclose(fit_predict("linear", "regression", FEATURES, labels, GROUPS, FEATURES), wanted)


def test_probabilities_keep_the_numbers_of_classes_that_training_lacks() -> None:
    labels = np.where(FEATURES[:, 0] > 0, 2.0, 0.0)
    found = fit_predict("linear", "multiclass_classifier", FEATURES, labels, GROUPS, FEATURES, n_classes=4)
    assert found.shape == (60, 4)
    assert found.sum(1) == pytest.approx(np.ones(60))
    assert (found[:, [1, 3]] == 0).all()
    assert (found.argmax(1) == labels).mean() > 0.8
    binary = fit_predict("linear", "binary_classifier", FEATURES, labels / 2, GROUPS, FEATURES)
    assert binary.shape == (60,)
    assert binary[labels == 2].mean() > binary[labels == 0].mean()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full(60, np.nan), "training set: holds no labels"),
        (np.zeros(60), "labels of one class only"),
        (np.full(60, 5.0), r"no numbers of 2 classes: \[5.0\]"),
        (np.full(60, 0.5), "no numbers of 2 classes"),
    ],
)
def test_labels_that_teach_nothing_are_refused(labels: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fit_predict("linear", "binary_classifier", FEATURES, labels, GROUPS, FEATURES)
    with pytest.raises(DataError, match="one group only"):
        fit_predict("linear", "regression", FEATURES, FEATURES[:, 0], ["g"] * 60, FEATURES)


def test_every_feature_has_a_row_and_embeddings_rows_of_their_own() -> None:
    rows = plan({"size": FEATURES, "composition": FEATURES, "embedding": FEATURES})
    assert rows["size"] == ("linear", ("size",))
    assert rows["all of these, trees"] == ("forest", ("size", "composition"))
    assert rows["frozen embedding and all, trees"][1] == ("size", "composition", "embedding")
    assert not any("embedding" in name for name in plan({"size": FEATURES}))


def test_a_complex_is_found_by_the_composition_of_its_side() -> None:
    found = {name: {key: score.value for key, score in row.items()} for name, row in retrieval_baselines(ITEMS).items()}
    assert found["composition, contained"]["recall_at_1"] > 0.6
    assert found["chance"]["recall_at_1"] == pytest.approx(1 / 8)
    assert found["chance"]["mean_reciprocal_rank"] == pytest.approx(np.mean([1 / k for k in range(1, 9)]))
    with pytest.raises(DataError, match="item1: has one segment only"):
        retrieval_baselines([ITEMS[0], one_segment(ITEMS[1])])
    with pytest.raises(DataError, match="two items are needed"):
        retrieval_baselines(ITEMS[:1])


def test_masked_blocks_of_held_out_items_are_guessed_from_the_training_items() -> None:
    groups = np.array([item.id for item in ITEMS[4:]])
    found = masking_baselines(ITEMS[:4], ITEMS[4:], groups, 0.4, n=20, seed=0)
    assert found.keys() == {"majority class", "composition of the rest"}
    for scores in found.values():
        assert 0 <= scores["masked_accuracy"].value <= scores["masked_accuracy_top5"].value <= 1
        assert scores["masked_accuracy"].low <= scores["masked_accuracy"].high


def test_each_label_has_a_predictor_of_its_own() -> None:
    """A label of a single group can't be cross-validated: its frequency is given."""
    labels = np.stack([FEATURES[:, 0] > 0, FEATURES[:, 1] > 0, np.array(GROUPS) == GROUPS[0]], 1).astype(float)
    labels[::7, 1] = np.nan
    groups = np.array(GROUPS)
    found = fit_predict_sets("linear", FEATURES, labels, groups, FEATURES)
    assert found.shape == labels.shape
    assert ((found[:, 0] > 0.5) == labels[:, 0]).mean() > 0.8
    np.testing.assert_allclose(
        found[:, 1], fit_predict("linear", "binary_classifier", FEATURES, labels[:, 1], GROUPS, FEATURES)
    )
    np.testing.assert_allclose(found[:, 2], labels[:, 2].mean())
