"""The published program's recorded numbers come out of this model (padding="batch")."""

import numpy as np
import pytest
import torch
from golden import RECORDED, compare_gradients, recorded_batch, recorded_model, single

PREDICTION = [
    *(("PredictionModel", b) for b in ("batch0", "batch1", "batch2_edge_cases")),
    *(("PredictionModel_L2", b) for b in ("batch0", "batch1", "batch2_edge_cases")),
    *(("PredictionModel_noglobal", b) for b in ("batch0", "batch1", "batch2_edge_cases")),
    *(("PredictionModel_bottomglobal", b) for b in ("batch0", "batch1", "batch2_edge_cases")),
]
DENOISE = [
    *(("DenoisePretrainModel", b) for b in ("batch0", "batch1")),
    *(("DenoisePretrainModel_atomnoise", b) for b in ("batch0", "batch1")),
]
TINY = [(f"tiny/{m}", b) for m in ("PredictionModel", "DenoisePretrainModel") for b in ("batch0", "batch1")]
TERMS = {"torsion_loss": "tor_loss"} | {
    name: name for name in ("translation_loss", "rotation_loss", "atom_loss", "masked_loss", "loss")
}
PREDICTIONS = (
    *("pred_torsion", "pred_translation_raw", "pred_rotation_raw", "translation_scale", "rotation_scale"),
    *("pred_atom_raw", "atom_scale", "masked_logits", "pred_blocks"),
)

recorded = pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recordings in {RECORDED} (INTERFACE_PARITY)")


def case(pairs):
    return [
        pytest.param(name, batch, marks=() if name.startswith("tiny") else (recorded, pytest.mark.real_data))
        for name, batch in pairs
    ]


@pytest.mark.parametrize(("name", "batch"), case(PREDICTION + DENOISE + TINY))
def test_embeddings_losses_and_gradients_are_the_published_ones(name: str, batch: str) -> None:
    inputs, expected = recorded_batch(name, batch)
    model = recorded_model(name)
    output = model(inputs)
    for key in ("unit_repr", "block_repr", "graph_repr"):
        np.testing.assert_allclose(getattr(output, key).detach(), expected[key], atol=1e-5, rtol=0, err_msg=key)
    for key in PREDICTIONS:
        if key in expected and getattr(output, key, None) is not None:
            np.testing.assert_allclose(getattr(output, key).detach(), expected[key], atol=1e-4, rtol=0, err_msg=key)
    for ours, theirs in TERMS.items():
        if theirs in expected and (ours == "loss" or ours in output.terms):
            np.testing.assert_allclose(output.parts()[ours].detach(), expected[theirs], atol=1e-4, rtol=0, err_msg=ours)
    if output.loss is not None:
        output.loss.backward()
        compare_gradients(model, expected)


@pytest.mark.parametrize(("name", "batch"), case(PREDICTION + DENOISE))
def test_edges_are_the_published_ones(name: str, batch: str) -> None:
    inputs, expected = recorded_batch(name, batch)
    found = recorded_model(name).infer(inputs)
    for level, edges in (("bottom", found.representation.atom_edges), ("top", found.representation.block_edges)):
        pairs, kinds = edges.listed()
        np.testing.assert_array_equal(pairs, expected[f"{level}_edges"])
        np.testing.assert_array_equal(kinds, expected[f"{level}_edge_type"])
    if "tor_edge_index" in expected:
        np.testing.assert_array_equal(found.torsion_edges, expected["tor_edge_index"])


@recorded
@pytest.mark.real_data
@pytest.mark.parametrize("batch", ["batch0", "batch1"])
def test_double_precision_agrees_to_nine_digits(batch: str) -> None:
    inputs, _ = recorded_batch("PredictionModel", batch)
    expected = np.load(RECORDED / "PredictionModel" / f"{batch}_outputs_float64.npz")
    output = recorded_model("PredictionModel").double().infer(inputs)
    for key in ("unit_repr", "block_repr", "graph_repr"):
        np.testing.assert_allclose(getattr(output, key), expected[key], atol=1e-9, rtol=0, err_msg=key)


@pytest.mark.parametrize("name", ["tiny/PredictionModel", "tiny/DenoisePretrainModel"])
def test_own_padding_gives_the_numbers_of_a_batch_of_one(name: str) -> None:
    inputs, _ = recorded_batch(name, "batch1")
    together = recorded_model(name, padding="own").infer(inputs)
    alone_as_published = recorded_model(name, padding="batch")
    alone = [alone_as_published.infer(single(inputs, i)) for i in range(len(inputs["lengths"]))]
    for key in ("unit_repr", "block_repr", "graph_repr"):
        expected = torch.cat([getattr(output, key) for output in alone])
        torch.testing.assert_close(getattr(together, key), expected, atol=1e-5, rtol=0)
    assert (together.graph_repr - alone_as_published.infer(inputs).graph_repr).abs().max() > 1e-3
