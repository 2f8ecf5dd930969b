"""Wigner 3j constants in the basis of the published weights."""

from functools import cache

import torch
from torch import Tensor


@cache
def wigner_3j(l1: int, l2: int, l3: int) -> Tensor:
    """[2 l1 + 1, 2 l2 + 1, 2 l3 + 1] real Wigner 3j symbols of Frobenius norm 1, float64, from e3nn.

    The published program holds them in single precision also when it computes in double; so do we.
    """
    from e3nn import o3  # takes a second to import and is needed for this only

    return o3.wigner_3j(l1, l2, l3, dtype=torch.float64)
