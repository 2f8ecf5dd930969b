"""Losses of labels of which any number may hold: cross entropy, asymmetric, focal. Each gives the loss of each label.

Labels that were seen are certain, those that were not seen may hold nevertheless, and most labels do not hold for most
items: the asymmetric and the focal loss let the many easy negatives count less.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from configs.multilabel_options import MultiLabelOptions

LEAST = 1e-12
"""Keeps the gradient of a power finite at 0."""
STEPS = 50
"""Halvings of the range of a logit, more than double precision tells apart."""


def bce_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of each label.

    Args:
        logits: of any shape. target: 0 or 1, of the same shape.
    """
    return F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")


def asymmetric_loss(
    logits: Tensor, target: Tensor, gamma_pos: float = 0.0, gamma_neg: float = 2.0, clip: float = 0.05
) -> Tensor:
    """Asymmetric loss of each label (Ridnik et al. 2021, arXiv 2009.14119).

    -(1 - p)^gamma_pos ln p of a label that holds, -q^gamma_neg ln(1 - q) of one that does not, with
    q = max(p - clip, 0): a negative below `clip` costs exactly nothing.

    Args:
        logits, target: as in `bce_loss`.
    """
    p, other = logits.sigmoid(), (-logits).sigmoid()
    positive = -_power(other, gamma_pos) * F.logsigmoid(logits)
    q = (p - clip).clamp(min=0)
    log = (other + clip).clamp(max=1).log() if clip else F.logsigmoid(-logits)
    return torch.where(target > 0, positive, -_power(q, gamma_neg) * log)


def focal_loss(logits: Tensor, target: Tensor, alpha: float = 0.5, gamma: float = 2.0) -> Tensor:
    """Focal loss of each label (Lin et al. 2017, arXiv 1708.02002): -a (1 - p)^gamma ln p, with p the probability of
    what is true, and a = `alpha` of a label that holds, 1 - `alpha` of one that does not.

    Args:
        logits, target: as in `bce_loss`.
    """
    towards = torch.where(target > 0, logits, -logits)
    weight = torch.where(target > 0, alpha, 1 - alpha).to(logits.dtype)
    return -weight * _power((-towards).sigmoid(), gamma) * F.logsigmoid(towards)


def _power(base: Tensor, exponent: float) -> Tensor:
    """base ** exponent for a base of 0 to 1, with a finite gradient."""
    return base.clamp(min=LEAST) ** exponent if exponent else torch.ones_like(base)


def best_logits(loss: Callable[[Tensor, Tensor], Tensor], share: Tensor, least: float) -> Tensor:
    """[labels] logit of least expected loss of labels of which nothing is known but how often they hold.

    Of cross entropy that is the logit of the share; the others are least elsewhere, asl with a share of 0.05 at a
    probability of 0.22.

    Args:
        share: [labels] of items that have each. least: the probability stays between this and 1 - `least`.
    """
    share = share.to(torch.float64).clamp(least, 1 - least)
    low, high = (torch.full_like(share, end).logit() for end in (least, 1 - least))
    for _ in range(STEPS):
        middle = ((low + high) / 2).requires_grad_()
        with torch.enable_grad():
            holds, not_holds = loss(middle, torch.ones_like(share)), loss(middle, torch.zeros_like(share))
            (slope,) = torch.autograd.grad((share * holds + (1 - share) * not_holds).sum(), middle)
        middle = middle.detach()
        low, high = torch.where(slope < 0, middle, low), torch.where(slope < 0, high, middle)
    return (low + high) / 2


def label_loss(options: MultiLabelOptions) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss that `--label_loss` and its numbers name: (logits, target) -> loss of each label."""
    if options.label_loss == "asl":
        gammas = partial(asymmetric_loss, gamma_pos=options.asl_gamma_pos, gamma_neg=options.asl_gamma_neg)
        return partial(gammas, clip=options.asl_clip)
    if options.label_loss == "focal":
        return partial(focal_loss, alpha=options.focal_alpha, gamma=options.focal_gamma)
    return bce_loss
