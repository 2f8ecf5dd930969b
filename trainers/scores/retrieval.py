"""How high the right partner ranks among all candidates."""

import numpy as np
from scipy.stats import rankdata

from trainers.scores.regression import Scores

AT = (1, 5, 10)


def retrieval_metrics(similarity: np.ndarray) -> Scores:
    """Recall at 1, 5 and 10 and the mean reciprocal rank of the right candidates.

    A candidate that is as similar as the right one counts as before it, so that a model that gives the same vector to
    everything finds nothing.

    Args:
        similarity: [queries, candidates] with as many of each; the right candidate of query i is i.

    Raises:
        ValueError: not a square matrix.
    """
    similarity = np.asarray(similarity, float)
    if similarity.ndim != 2 or similarity.shape[0] != similarity.shape[1]:
        raise ValueError(f"similarities must be a square matrix, got shape {similarity.shape}")
    return {name: float(values.mean()) for name, values in retrieval_scores(similarity).items()}


def retrieval_scores(similarity: np.ndarray) -> dict[str, np.ndarray]:
    """[queries] what each query adds to the means of `retrieval_metrics`; NaN where they are undefined."""
    if len(similarity) < 2 or np.isnan(similarity).any():
        rank = np.full(len(similarity) or 1, np.nan)
    else:
        rank = rankdata(-similarity, method="max", axis=1).diagonal()
    found = {f"recall_at_{k}": np.where(np.isnan(rank), np.nan, rank <= k) for k in AT}
    return found | {"mean_reciprocal_rank": 1 / rank}
