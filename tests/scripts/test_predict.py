"""Predictions on disk: of ours and published checkpoints, in their unit, of ensembles, for any input."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from configs.errors import CheckpointError, ConfigError, DataError
from data.collate import collate_items
from data.inputs import InputItem, InputOptions, open_inputs
from data.item import Item
from data.labels import LabelScale
from data.shards import write_part
from data.vocab import MODALITIES, load_vocabulary
from models import create_model, from_pretrained, load_published
from models.composition import CompositionConfig, CompositionModel
from models.named import backbone_of
from models.predict import Predictor
from models.published import save_published
from scripts.predict import main

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("INTERFACE_DATA", ROOT.parent / "shared" / "data"))
real = pytest.mark.skipif(not DATA.is_dir(), reason=f"INTERFACE_DATA: no folder {DATA}")
SIZES: dict[str, Any] = {"atom_hidden_size": 8, "block_hidden_size": 8, "edge_size": 4, "n_layers": 1}
KCAL = {"labels": LabelScale(("dG",), data_unit="kcal/mol", unit="kcal/mol", mean=(-9.0,), std=(2.0,)).to_dict()}


def model_of(kind: str, seed: int = 0, facts: dict[str, Any] | None = None, **more: Any) -> Any:
    torch.manual_seed(seed)
    model = create_model(kind, **SIZES | {"k_neighbors": 3, "fragmentation_method": "PS_300"} | more).eval()
    model.facts = facts or {}
    return model


def saved(folder: Path, model: Any) -> str:
    model.save_pretrained(folder)
    return str(folder)


def item(number: int, B: tuple[int, ...] = (4, 5, 6, 7)) -> Item:
    rng = np.random.default_rng(number)
    n = len(B)
    return Item(
        id=f"entry{number}",
        X=rng.normal(size=(2 * n, 3)).astype(np.float32) * 4,
        A=rng.integers(8, 11, 2 * n).astype(np.uint8),
        B=np.array(B, np.uint16),
        block_lengths=np.full(n, 2, np.int32),
        segment_ids=(np.arange(n) >= n // 2).astype(np.uint8),
    )


ITEMS = [item(number) for number in range(3)]
ENTRIES = [InputItem(one) for one in ITEMS]


@pytest.fixture
def shards(tmp_path: Path) -> str:
    return str(write_part(tmp_path / "shards", ITEMS, load_vocabulary().fingerprint))


def run(*words: str | Path, status: int = 0) -> None:
    assert main([*map(str, words), "--device", "cpu"]) == status


def plain(model: Any, one: Item) -> np.ndarray:
    """What the model's head gives for an interface alone."""
    batch = collate_items([one])
    del batch["label"]
    return model.infer(batch).pred.numpy().reshape(-1)


def test_an_ensemble_has_mean_and_spread_in_the_unit_of_the_labels(shards: str, tmp_path: Path) -> None:
    models = [model_of("AffinityPredictor", seed, KCAL) for seed in range(3)]
    folders = [saved(tmp_path / str(number), model) for number, model in enumerate(models)]
    run(shards, "--checkpoint", *folders, "--out", tmp_path / "found.csv")
    table = pd.read_csv(tmp_path / "found.csv")
    assert list(table) == ["id", "dG (kcal/mol)", "spread dG (kcal/mol)"]
    values = np.array([[2 * plain(model, one)[0] - 9 for model in models] for one in ITEMS])
    np.testing.assert_allclose(table["dG (kcal/mol)"], values.mean(1), rtol=1e-4)
    np.testing.assert_allclose(table["spread dG (kcal/mol)"], values.std(1, ddof=1), rtol=1e-3)


def test_what_the_models_of_an_ensemble_disagree_on_is_left_empty(shards: str, tmp_path: Path, capsys: Any) -> None:
    folders = [saved(tmp_path / str(seed), model_of("AffinityPredictor", seed, KCAL)) for seed in range(2)]
    run(shards, "--checkpoint", *folders, "--out", tmp_path / "all.csv")
    table = pd.read_csv(tmp_path / "all.csv")
    name, spread = "dG (kcal/mol)", table["spread dG (kcal/mol)"]
    assert spread.nunique() == len(spread) == 3
    run(shards, "--checkpoint", *folders, "--out", tmp_path / "some.csv", "--max_spread", spread.median() * (1 + 1e-6))
    some = pd.read_csv(tmp_path / "some.csv")
    assert (
        some[name].isna().tolist() == (spread > spread.median() * (1 + 1e-6)).tolist() and some[name].isna().sum() == 1
    )
    assert some["spread dG (kcal/mol)"].tolist() == spread.tolist()
    assert "1 of them is left empty" in capsys.readouterr().out
    run(shards, "--checkpoint", folders[0], "--out", tmp_path / "one.csv", "--max_spread", 1, status=2)
    assert "--max_spread: one model has no spread (name several with --checkpoint)" in capsys.readouterr().err


def test_classes_have_probabilities_a_spread_and_a_confidence(shards: str, tmp_path: Path) -> None:
    facts = {"labels": {"classes": ["ion", "sugar", "drug"]}}
    models = [model_of("MultiClassClassifierModel", seed, facts, num_classes=3) for seed in range(2)]
    folders = [saved(tmp_path / str(number), model) for number, model in enumerate(models)]
    run(shards, "--checkpoint", *folders, "--out", tmp_path / "found.parquet")
    table = pd.read_parquet(tmp_path / "found.parquet")
    names = ["probability ion", "probability sugar", "probability drug"]
    assert list(table) == ["id", *names, "class", "spread", "confidence"]
    values = np.array([[plain(model, one) for model in models] for one in ITEMS])  # item, model, class
    np.testing.assert_allclose(table[names], values.mean(1), rtol=1e-4)
    best = values.mean(1).argmax(1)
    assert table["class"].tolist() == [facts["labels"]["classes"][number] for number in best]
    np.testing.assert_allclose(table["confidence"], values.mean(1).max(1), rtol=1e-4)
    np.testing.assert_allclose(table["spread"], values.std(1, ddof=1)[range(3), best], rtol=1e-3)


def test_the_threshold_of_confidence_is_inclusive_and_leaves_cells_empty() -> None:
    predictor = Predictor([model_of("ClassifierModel")])
    (found,) = predictor(ENTRIES)
    confidence = found.confidence(0)
    assert confidence is not None
    threshold = float(np.median(confidence))
    columns = predictor.columns(found, threshold)
    kept = confidence >= threshold
    assert kept.sum() == 2
    assert [bool(name) for name in columns["class"]] == kept.tolist()
    assert np.isnan(columns["probability 1"]).tolist() == (~kept).tolist()
    np.testing.assert_array_equal(columns["confidence"], confidence)
    with pytest.raises(ConfigError, match=r"must be between 0 and 1, got 1\.5"):
        predictor.columns(found, 1.5)


def test_values_are_as_sure_as_the_training_set_knew_their_blocks() -> None:
    entries = [InputItem(item(0, (4, 5, 6, 7))), InputItem(item(1, (4, 5, 9, 9)))]
    known = KCAL | {"seen_blocks": [4, 5, 6, 7]}
    predictor = Predictor([model_of("RegressionPredictor", 0, known), model_of("RegressionPredictor", 1, known)])
    (found,) = predictor(entries)
    columns = predictor.columns(found, 0.6)
    assert columns["unknown_fraction"].tolist() == [0, 0.5]
    assert columns["confidence"].tolist() == [1, 0.5]
    assert np.isnan(columns["dG (kcal/mol)"]).tolist() == [False, True]
    silent = Predictor([model_of("RegressionPredictor", 0, KCAL)])
    (found,) = silent(entries)
    assert list(silent.columns(found)) == ["dG (kcal/mol)"]
    with pytest.raises(ConfigError, match=r"the confidence in dG \(kcal/mol\) is not known"):
        silent.columns(found, 0.5)


def calibrated(residuals: list[float], groups: str, **labels: Any) -> dict[str, Any]:
    scale = KCAL["labels"] | labels
    kept = {"residuals": residuals, "groups": list(groups), "source": "held-out fold"}
    return {"labels": scale, "seen_blocks": [4, 5, 6, 7], "calibration": {"dG": kept}}


def test_intervals_are_those_of_all_models_and_empty_where_it_is_not_sure() -> None:
    facts = [calibrated([1.0, 2.0, 3.0], "abc"), calibrated([0.5, 1.5, 2.5], "def")]
    predictor = Predictor([model_of("RegressionPredictor", seed, one) for seed, one in enumerate(facts)])
    predictor.check_intervals(0.8)
    (found,) = predictor([InputItem(item(0)), InputItem(item(1, (4, 5, 9, 9)))])
    columns = predictor.columns(found, 0.6, 0.8)
    assert list(columns) == [
        *("dG (kcal/mol)", "spread dG (kcal/mol)", "low", "high", "unknown_fraction", "confidence")
    ]
    first, second = found.members[0][:, 0, 0]
    ups = sorted([first + 1, first + 2, first + 3, second + 0.5, second + 1.5, second + 2.5])
    downs = sorted([first - 1, first - 2, first - 3, second - 0.5, second - 1.5, second - 2.5])
    assert columns["high"][0] == pytest.approx(ups[5])  # 0.8 of weights of 1/7 needs six
    assert columns["low"][0] == pytest.approx(downs[0])
    assert np.isnan([columns["low"][1], columns["high"][1]]).all()
    with pytest.raises(ConfigError, match=r"0.9 needs 9 groups of held-out items, there are 6"):
        predictor.check_intervals(0.9)


def test_intervals_of_transformed_labels_return_to_the_unit_of_the_data() -> None:
    """Residuals are in pK; low stays below high, though dG falls where pK rises."""
    facts = calibrated([0.5], "a", transform="log10", unit="log10(nM)", data_unit="nM", mean=[2.0], std=[1.0])
    predictor = Predictor([model_of("RegressionPredictor", 0, facts)])
    (found,) = predictor(ENTRIES)
    columns = predictor.columns(found, 0, 0.5)
    np.testing.assert_allclose(columns["high"], columns["dG (nM)"] * 10**0.5, rtol=1e-5)
    np.testing.assert_allclose(columns["low"], columns["dG (nM)"] / 10**0.5, rtol=1e-5)
    falling = calibrated([0.5], "a", transform="pK_from_dG", unit="pK", data_unit="kcal/mol", mean=[6.0], std=[1.0])
    predictor = Predictor([model_of("RegressionPredictor", 0, falling)])
    (found,) = predictor(ENTRIES)
    columns = predictor.columns(found, 0, 0.5)
    assert (columns["low"] < columns["dG (kcal/mol)"]).all() and (columns["dG (kcal/mol)"] < columns["high"]).all()


def test_intervals_that_cannot_be_made_are_refused() -> None:
    with pytest.raises(CheckpointError, match="model 1 keeps no residuals of held-out items for dG"):
        Predictor([model_of("RegressionPredictor", 0, KCAL)]).check_intervals(0.9)
    with pytest.raises(ConfigError, match="is for numbers"):
        Predictor([model_of("ClassifierModel")]).check_intervals(0.9)
    with pytest.raises(ConfigError, match="must be above 0 and below 1"):
        Predictor([model_of("RegressionPredictor", 0, KCAL)]).check_intervals(90)


def test_nothing_is_said_of_an_empty_interface() -> None:
    empty = InputItem(item(0, ()))
    with pytest.raises(DataError, match="has no blocks, so nothing can be said of it"):
        next(Predictor([model_of("RegressionPredictor")])([empty]))


def test_labels_of_the_input_are_compared_with_the_predictions(tmp_path: Path) -> None:
    labels = (0.0, 1.0, float("nan"), 1.0, 0.0)
    items = [item(number).with_(label=value) for number, value in enumerate(labels)]
    shards = str(write_part(tmp_path / "shards", items, load_vocabulary().fingerprint))
    folder = saved(tmp_path / "model", model_of("ClassifierModel", facts={"labels": {"classes": ["off", "on"]}}))
    run(shards, "--checkpoint", folder, "--out", tmp_path / "found.csv")
    told = json.loads((tmp_path / "found.scores.json").read_text())
    table = pd.read_csv(tmp_path / "found.csv").drop(2)
    right = table["class"] == ["off", "on", "on", "off"]
    assert (told["items"], told["scores"]["accuracy"]["value"]) == (4, right.mean())
    (curve,) = told["coverage"]
    assert curve["scores"]["risk"]["value"] == pytest.approx(1 - right.mean())
    np.testing.assert_allclose(curve["curve"]["threshold"], sorted(table["confidence"])[::-1], rtol=1e-6)
    assert (tmp_path / "found.coverage.png").stat().st_size > 0
    unlabelled = str(write_part(tmp_path / "bare", ITEMS, load_vocabulary().fingerprint))
    run(unlabelled, "--checkpoint", folder, "--out", tmp_path / "found.csv")
    assert not (tmp_path / "found.scores.json").exists() and not (tmp_path / "found.coverage.png").exists()


def test_labels_of_the_input_play_no_part() -> None:
    labelled = [InputItem(one.with_(label=value)) for one, value in zip(ITEMS, (7.0, float("nan"), -1.0))]
    for kind in ("MultiClassClassifierModel", "ClassifierModel", "AffinityPredictor", "RegressionPredictor"):
        predictor = Predictor([model_of(kind)])
        (with_labels,), (without,) = predictor(labelled), predictor(ENTRIES)
        np.testing.assert_array_equal(with_labels.values[0], without.values[0], err_msg=kind)


def test_batch_mates_change_nothing() -> None:
    predictor = Predictor([model_of("RegressionPredictor", padding="batch")])
    (together,) = predictor(ENTRIES)
    alone = np.concatenate([found.values[0] for found in predictor(ENTRIES, max_blocks=1)])
    np.testing.assert_allclose(together.values[0], alone, rtol=1e-5)


def test_models_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(CheckpointError, match="is a PredictionModel, which predicts no label"):
        Predictor([model_of("PredictionModel")])

    def told(first: dict[str, Any], other: dict[str, Any]) -> str:
        """What is said of two checkpoints as an ensemble."""
        models = [model_of(**{"kind": "RegressionPredictor", "facts": KCAL} | options) for options in (first, other)]
        models[0].source, models[1].source = "runs/a", "runs/b"
        with pytest.raises(CheckpointError) as refused:
            Predictor(models)
        assert "runs/a and runs/b make no ensemble: " in str(refused.value)
        return str(refused.value)

    def labels(**changes: Any) -> dict[str, Any]:
        return {"facts": {"labels": KCAL["labels"] | changes}}

    assert "the first predicts dG (kcal/mol), the second predicts prediction" in told({}, {"facts": {}})
    assert "the second predicts dG (pK)" in told({}, labels(data_unit="pK"))
    assert "the second predicts kd (kcal/mol)" in told({}, labels(names=["kd"]))
    assert "learned labels after no transform, the second learned labels after pK_from_dG" in told(
        {}, labels(transform="pK_from_dG")
    )
    assert "the first is of type RegressionPredictor, the second is of type AffinityPredictor" in told(
        {}, {"kind": "AffinityPredictor"}
    )
    three = {"kind": "MultiClassClassifierModel", "num_classes": 3, "facts": {}}
    assert "predicts class: 0 or 1 or 2, the second predicts class: 0 or 1" in told(three, three | {"num_classes": 2})
    assert "has the vocabulary PS_300, the second has the vocabulary None" in told({}, {"fragmentation_method": None})
    kinds = [{"facts": KCAL | {"seen_kinds": seen}} for seen in ({"PP": 3, "PL": 1}, {"PDNA": 2})]
    assert "complexes of kind PL, PP, the second was fitted to complexes of kind PDNA" in told(*kinds)


def test_the_shipped_regressors_make_no_ensemble(shards: str, tmp_path: Path, capsys: Any) -> None:
    run(shards, "--checkpoint", "affinity_ppi", "affinity_pl", "--out", tmp_path / "found.csv", status=2)
    assert "affinity_ppi and affinity_pl make no ensemble" in capsys.readouterr().err
    assert not (tmp_path / "found.csv").exists()


def test_regressors_on_other_features_make_no_ensemble() -> None:
    first, same, other = (from_pretrained("affinity_ppi") for _ in range(3))
    with torch.no_grad():
        next(other.frozen.parameters()).add_(1)
        same.intercepts.add_(1)  # fitted again, on the same representations
    (found,) = Predictor([first, same])(ENTRIES)
    assert found.spreads is not None
    np.testing.assert_allclose(found.spreads[0], 0.5**0.5, rtol=1e-5)
    with pytest.raises(CheckpointError, match="is fitted on the representations of encoder"):
        Predictor([first, other])


def test_complexes_of_a_kind_that_training_had_none_of_are_told_and_left_empty_when_asked(
    tmp_path: Path, capsys: Any
) -> None:
    kinds = [MODALITIES.index("PP"), MODALITIES.index("PDNA"), -1, MODALITIES.index("PL")]
    items = [item(number).with_(modality=kind) for number, kind in enumerate(kinds)]
    shards = str(write_part(tmp_path / "shards", items, load_vocabulary().fingerprint))
    folder = saved(tmp_path / "model", model_of("RegressionPredictor", facts=KCAL | {"seen_kinds": {"PP": 9}}))
    run(shards, "--checkpoint", folder, "--out", tmp_path / "all.csv")
    said = capsys.readouterr()
    assert "note: 2 of 4 complexes are of a kind that training had none of (PDNA 1, PL 1; it had PP)" in said.err
    assert said.err.count("note") == 1 and "--strict leaves them empty" in said.err
    table = pd.read_csv(tmp_path / "all.csv", keep_default_na=False)
    assert table["unseen_kind"].tolist() == ["", "PDNA", "", "PL"]
    assert all(table["dG (kcal/mol)"])
    run(shards, "--checkpoint", folder, "--out", tmp_path / "some.csv", "--strict")
    said = capsys.readouterr()
    assert "predictions are left empty" in said.err and "2 of them are left empty" in said.out
    some = pd.read_csv(tmp_path / "some.csv", keep_default_na=False)
    assert [bool(value) for value in some["dG (kcal/mol)"]] == [True, False, True, False]
    assert some["unseen_kind"].tolist() == table["unseen_kind"].tolist()


def test_without_the_kinds_of_the_training_set_nothing_can_be_told_of_them(
    shards: str, tmp_path: Path, capsys: Any
) -> None:
    folder = saved(tmp_path / "model", model_of("RegressionPredictor", facts=KCAL))
    run(shards, "--checkpoint", folder, "--out", tmp_path / "all.csv")
    assert "unseen_kind" not in pd.read_csv(tmp_path / "all.csv") and not capsys.readouterr().err
    run(shards, "--checkpoint", folder, "--out", tmp_path / "strict.csv", "--strict", status=2)
    assert "--strict: the kinds of complexes in the training set are not known" in capsys.readouterr().err


def test_the_checkpoint_that_predicts_nothing_is_named(shards: str, tmp_path: Path, capsys: Any) -> None:
    folder = saved(tmp_path / "pretrained", model_of("PredictionModel"))
    run(shards, "--checkpoint", folder, "--out", tmp_path / "found.csv", status=2)
    told = capsys.readouterr().err
    assert f"predict: {folder}: is a PredictionModel, which predicts no label" in told and "affinity_ppi" in told


@real
def test_the_shipped_regressors_know_what_they_were_fitted_to(tmp_path: Path, capsys: Any) -> None:
    words = [DATA / "pretrain" / "structures" / "102d.pdb.gz", "--checkpoint", "affinity_ppi"]
    run(*words, "--out", tmp_path / "found.csv")
    told = capsys.readouterr().err
    assert "note: 1 of 1 complex is of a kind that training had none of (DNAL 1; it had PP, Ppeptide)" in told
    run(
        DATA / "ppi_affinity" / "pdb" / "1brs.pdb.gz",
        "--chain1",
        "A",
        "--chain2",
        "D",
        *words[1:],
        "--out",
        tmp_path / "f.csv",
    )
    assert "note" not in capsys.readouterr().err
    assert from_pretrained("affinity_pl").facts["seen_kinds"] == {"PL": 917}


def test_a_composition_model_answers_for_targets_of_both_types() -> None:
    scale = LabelScale(("pK",), data_unit="pK", mean=(6.0,), std=(2.0,)).to_dict()
    targets = {"pK": {"scale": scale}, "site": {"classes": ["in", "out"]}}
    options: dict[str, Any] = {"targets": ("pK", "site"), "kinds": ("regression", "classification"), "outputs": (1, 2)}
    torch.manual_seed(0)
    config = CompositionConfig(**options, fragmentation_method="PS_300", vocabulary=("GLY", "ALA"))
    model = CompositionModel(config).eval()
    model.facts = {"labels": {"names": ["pK", "site"], "targets": targets}}
    predictor = Predictor([model])
    entries = [InputItem(item(0, (4, 5, 4, 5))), InputItem(item(1, (4, 5, 9, 9)))]
    (found,) = predictor(entries)
    columns = predictor.columns(found)
    told = ["pK (pK)", "probability site in", "probability site out", "site", "unknown_fraction", "confidence"]
    assert list(columns) == [*told, "confidence site"]
    logits = model.infer(collate_items([entry.item for entry in entries])).logits.double().numpy()
    np.testing.assert_allclose(columns["pK (pK)"], 2 * logits[:, 0] + 6, rtol=1e-6)
    np.testing.assert_allclose(columns["probability site in"], 1 / (1 + np.exp(logits[:, 2] - logits[:, 1])), rtol=1e-5)
    assert columns["confidence"].tolist() == [1, 0.5]
    with pytest.raises(CheckpointError, match="is a CompositionModel, which has no vectors of its own"):
        backbone_of(model)


def test_columns_of_an_index_stay_and_never_hide_a_prediction(tmp_path: Path) -> None:
    from scripts.predict import beside_input

    entries = [InputItem(ITEMS[0], {"pdb_id": "x", "class": "mine"})]
    assert beside_input(entries, {"class": ["drug"], "confidence": [0.9]}) == {
        "id": ["entry0"],
        "pdb_id": ["x"],
        "class": ["mine"],
        "predicted class": ["drug"],
        "confidence": [0.9],
    }


@pytest.mark.real_data
@real
def test_real_complexes_from_an_index_with_a_published_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = model_of("AffinityPredictor", modality_embedding=False)
    save_published(model, tmp_path / "published")
    table = (DATA / "pl_affinity" / "interfaces.csv").read_text().splitlines()
    broken = "broken,pl_affinity/gone.pdb,,,,,,,-8,x"
    (tmp_path / "index.csv").write_text("\n".join([table[0], *table[1:4], broken]) + "\n")
    out = tmp_path / "found.csv"
    run(tmp_path / "index.csv", "--root", DATA, "--checkpoint", tmp_path / "published", "--out", out)
    found = pd.read_csv(out)
    assert list(found) == ["id", *table[0].split(","), "prediction"]
    assert found["label"].tolist() == [-12.41, -12.29, -12.11]
    published = load_published(tmp_path / "published/config.json", tmp_path / "published/weights.pt")
    entries = open_inputs(InputOptions(tmp_path / "index.csv", root=DATA))
    expected = [plain(published, entry.item)[0] for entry in entries]
    np.testing.assert_allclose(found["prediction"], expected, rtol=1e-4)
    assert "gone.pdb: no such file" in (tmp_path / "found.failures.csv").read_text()
    assert "1 failed, reasons in" in capsys.readouterr().err


@pytest.mark.real_data
@real
def test_a_real_structure_with_the_wrong_ligand_gives_one_line_and_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = saved(tmp_path / "model", model_of("AffinityPredictor", facts=KCAL))
    words = (DATA / "pretrain/structures/11as.pdb.gz", "--lig_code", "ATP", "--checkpoint", checkpoint)
    run(*words, "--out", tmp_path / "found.csv", status=2)
    assert "has no ligand ATP (its ligands: ASN 331 in chain A, ASN 331 in chain B)" in capsys.readouterr().err
    assert not (tmp_path / "found.csv").exists()
