"""Vectors of an atlas in two dimensions."""

from typing import Literal, get_args

import numpy as np

from configs.errors import ConfigError, DataError

Method = Literal["umap", "pca", "tsne"]
METHODS: tuple[Method, ...] = get_args(Method)
FEWEST = 5
INSTALL = "pip install 'ligare[map]', or choose --method pca or tsne"


def flattened(vectors: np.ndarray, method: Method = "umap", neighbours: int = 15, seed: int = 0) -> np.ndarray:
    """[rows, 2] a place for each vector; near ones have near places.

    Args:
        vectors: [rows, width] of length 1. method: umap (of cosines), pca or tsne. neighbours: of umap, or the
            perplexity of tsne: large ones keep the whole in shape, small ones the neighbourhoods.

    Raises:
        ConfigError: umap is not installed. DataError: too few rows.
    """
    if len(vectors) < FEWEST:
        raise DataError(f"a map needs {FEWEST} rows or more, and this would be one of {len(vectors)}", "atlas")
    neighbours = min(neighbours, len(vectors) - 1)
    if method == "pca":
        from sklearn.decomposition import PCA

        return PCA(2, random_state=seed).fit_transform(vectors)
    if method == "tsne":
        from sklearn.manifold import TSNE

        return TSNE(2, perplexity=neighbours, init="pca", random_state=seed).fit_transform(vectors)
    try:
        import umap
    except ImportError as absent:
        raise ConfigError("umap-learn is not installed", "--method", hint=INSTALL) from absent
    return umap.UMAP(n_neighbors=neighbours, metric="cosine", random_state=seed, n_jobs=1).fit_transform(vectors)
