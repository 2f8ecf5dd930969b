"""The loss of finding the partner among many (parity SPEC 7)."""

import torch
from torch import Tensor


def contrastive_loss(first: Tensor, second: Tensor, temperature: float = 0.5) -> Tensor:
    """How badly each row finds its partner among all others (parity SPEC 7); 0 for a single pair.

    With a = z y^T / t, s = z z^T / t, r = y y^T / t the loss is the mean over both sides of
    -a_ii + log(sum_{j != i} exp(s_ij) + sum_j exp(a_ij)), and the same with r and a transposed.

    Args:
        first, second: z and y, [pairs, width], rows of length 1.
    """
    across = first @ second.T / temperature
    itself = torch.eye(len(first), dtype=torch.bool, device=first.device)
    terms = []
    for side, own in ((across, first), (across.T, second)):
        others = (own @ own.T / temperature).masked_fill(itself, -torch.inf)
        terms.append(torch.cat([others, side], 1).logsumexp(1) - side.diagonal())
    return torch.cat(terms).mean()
