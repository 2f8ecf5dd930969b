"""Outputs answer to the names under which the published program's recordings hold them."""

import numpy as np
import pytest
import torch
from complexes import small_config, some_complexes
from golden import compare_gradients, recorded_batch, recorded_model, single
from test_parity import recorded

from models import DenoisePretrainModel

HEADS = (
    *("AffinityPredictor", "AffinityPredictor_blockemb", "ClassifierModel", "MultiClassClassifierModel"),
    *("RegressionPredictor", "MaskedNodeModel", "ProteinInterfaceModel"),
)
DENOISE = ("DenoisePretrainModel", "DenoisePretrainModel_atomnoise")
NOT_COMPARED = ("grad", "mid:", "head_raw", "atom_base")
"""Gradients and intermediate results; head_raw is `logits`; atom_base is ours: a sum over x, y and z, as the loss."""


@recorded
@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "batch"), [(name, "batch0") for name in (*HEADS, *DENOISE)] + [(name, "batch1") for name in HEADS]
)
def test_every_recorded_output_has_its_name_and_numbers(name: str, batch: str) -> None:
    inputs, expected = recorded_batch(name, batch)
    model = recorded_model(name)
    output = model(inputs)
    keywords = {(key[:-1] + "Z" if key.split("_")[-1] == "X" else key): value for key, value in inputs.items()}
    others = [] if batch == "batch1" else [model(**keywords), model.infer(inputs)]
    for found in (output, *others):
        for key, wanted in expected.items():
            if not key.startswith(NOT_COMPARED):
                tolerance = 1e-5 if key.endswith("_repr") else 1e-4
                value = getattr(found, key).detach().numpy()
                np.testing.assert_allclose(value, wanted, atol=tolerance, rtol=0, err_msg=key)
    if "head_raw" in expected:
        np.testing.assert_allclose(output.logits.detach(), expected["head_raw"], atol=1e-4, rtol=0)
    if "grad_norm_total" in expected:
        output.loss.backward()
        compare_gradients(model, expected)


@recorded
@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "padding"),
    [("AffinityPredictor_blockemb", "own"), ("ClassifierModel", "masked"), ("DenoisePretrainModel", "own")],
)
def test_predictions_of_a_complex_do_not_depend_on_its_batch(name: str, padding: str) -> None:
    inputs, _ = recorded_batch(name, "batch1")
    together = recorded_model(name, padding).infer(inputs)
    alone_as_published = recorded_model(name, "batch" if padding == "own" else padding)
    alone = [alone_as_published.infer(single(inputs, number)) for number in range(len(inputs["lengths"]))]
    compared = 0
    for key in ("unit_repr", "block_repr", "graph_repr", "pred", "pred_translation", "pred_rotation", "pred_torsion"):
        if getattr(together, key, None) is not None:
            expected = torch.cat([getattr(output, key) for output in alone])
            torch.testing.assert_close(getattr(together, key), expected, atol=1e-5, rtol=0)
            compared += 1
    assert compared >= 4


def test_a_noise_that_is_off_counts_zero_under_its_name_and_is_not_logged() -> None:
    model = DenoisePretrainModel(small_config(atom_noise=False, torsion_noise=False, num_masked_block_classes=None))
    output = model.infer(some_complexes(1)[0])
    for name in ("atom_loss", "atom_base", "tor_loss", "tor_base", "torsion_loss", "masked_loss"):
        assert getattr(output, name).item() == 0
    assert set(output.parts()) == {
        *("loss", "translation_loss", "translation_base", "rotation_loss", "rotation_base"),
    }
    with pytest.raises(AttributeError, match="has no 'other_loss'"):
        _ = output.other_loss
