"""Harmonics and Wigner constants are those of e3nn, and turn as they should."""

import numpy as np
import pytest
import torch
from e3nn import o3
from golden import RECORDED

from models.layers.harmonics import AxisFilter, distance, spherical_harmonics, unit
from models.layers.wigner import wigner_3j

VECTORS = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_harmonics_equal_those_of_e3nn() -> None:
    expected = o3.spherical_harmonics("0e + 1o + 2e", VECTORS, normalize=True, normalization="component")
    torch.testing.assert_close(spherical_harmonics(VECTORS), expected)


@pytest.mark.parametrize("start", [0, 1, 4])
def test_each_part_of_a_unit_vector_has_squared_norm_2l_plus_1(start: int) -> None:
    part = spherical_harmonics(VECTORS)[:, start : {0: 1, 1: 4, 4: 9}[start]]
    torch.testing.assert_close(part.square().sum(1), torch.full((20,), float(part.shape[1]), dtype=torch.float64))


def test_products_with_a_bond_axis_equal_those_of_e3nn() -> None:
    axes = VECTORS.flip(0)
    product = o3.FullTensorProduct("0e + 1o + 2e", "2e").double()
    expected = product(spherical_harmonics(VECTORS), spherical_harmonics(axes)[:, 4:])
    assert [(ir.l, ir.p) for _, ir in product.irreps_out] == list(AxisFilter.irreps)
    torch.testing.assert_close(AxisFilter()(VECTORS, axes), expected, atol=1e-6, rtol=1e-6)


def test_a_bond_without_length_gives_no_filter() -> None:
    assert AxisFilter()(VECTORS, torch.zeros_like(VECTORS)).abs().max() == 0


@pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recordings in {RECORDED} (INTERFACE_PARITY)")
@pytest.mark.real_data
def test_wigner_constants_are_the_recorded_ones() -> None:
    recorded = np.load(RECORDED / "wigner_3j.npz")
    for name in recorded.files:
        degrees = (int(part) for part in name.removeprefix("w3j_").split("_"))
        np.testing.assert_allclose(wigner_3j(*degrees), recorded[name], atol=3e-8)  # recorded in single precision


def test_length_and_direction_of_a_zero_vector_have_zero_gradients() -> None:
    vectors = torch.tensor([[0.0, 0, 0], [3, 0, 4]], requires_grad=True)
    torch.testing.assert_close(distance(vectors), torch.tensor([0.0, 5.0]))
    torch.testing.assert_close(unit(vectors), torch.tensor([[0.0, 0, 0], [0.6, 0, 0.8]]))
    distance(vectors).sum().backward()
    torch.testing.assert_close(vectors.grad, torch.tensor([[0.0, 0, 0], [0.6, 0, 0.8]]))
