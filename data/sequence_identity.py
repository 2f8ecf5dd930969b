"""How alike two protein sequences are: local alignments, their significance, and which pairs are worth aligning."""

import math
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache

import numpy as np
from Bio.Align import PairwiseAligner, substitution_matrices
from scipy import sparse

AMINO_LETTERS = "ACDEFGHIKLMNPQRSTVWY"
_CODE = np.full(256, -1)
_CODE[list(AMINO_LETTERS.encode())] = range(20)
WORD = 3  # letters of the words that two sequences share
SHORT = 11  # shorter sequences are alike only when they are equal
QUERY_ROWS = 256  # sequences whose shared words are counted at a time


def clean_sequence(text: str) -> str:
    """The standard residues of a sequence, in capitals; gaps and unknown residues are left out."""
    return "".join(letter for letter in text.upper() if letter in AMINO_LETTERS)


@lru_cache(maxsize=4096)
def chance_identity(length: int) -> float:
    """Identity that unrelated sequences hardly exceed over this many residues.

    480 L^(-0.32 (1 + e^(-L/1000))) percent, and 19.5 percent from 450 on; Rost, Protein Eng. 1999;12:85, equation 2.
    """
    if length <= SHORT:
        return 1.0
    return 0.195 if length > 450 else min(1.0, 4.8 * length ** (-0.32 * (1 + math.exp(-length / 1000))))


@cache
def aligner() -> PairwiseAligner:
    """Smith-Waterman with BLOSUM62 and the gap costs of BLAST (11 to open, 1 to extend)."""
    made = PairwiseAligner(mode="local", open_gap_score=-12, extend_gap_score=-1)
    made.substitution_matrix = substitution_matrices.load("BLOSUM62")
    return made


@lru_cache(maxsize=1_000_000)
def identity(first: str, second: str) -> float:
    """Identical residues of the best local alignment, as a share of the shorter sequence.

    0 where that is not more than what chance gives (`chance_identity`). Arguments: clean sequences.
    """
    if first == second:
        return 1.0
    shorter = min(len(first), len(second))
    if shorter < SHORT:
        return 0.0
    found = aligner().align(first, second)
    if found.score <= 0:
        return 0.0
    share = found[0].counts().identities / shorter
    return share if share >= chance_identity(shorter) else 0.0


def words_of(sequences: Sequence[str]) -> sparse.csr_matrix:
    """[sequences, 20^3] which words of three residues each sequence has, as rows of length 1."""
    rows, columns = [], []
    powers = 20 ** np.arange(WORD)
    for number, sequence in enumerate(sequences):
        letters = _CODE[np.frombuffer(sequence.encode(), np.uint8)]
        if len(letters) >= WORD:
            words = np.unique(np.lib.stride_tricks.sliding_window_view(letters, WORD) @ powers)
            rows.append(np.full(len(words), number))
            columns.append(words)
    lengths = [len(words) for words in columns]
    values = np.repeat(np.asarray(lengths, float) ** -0.5, np.asarray(lengths, int))
    where = (np.concatenate(rows), np.concatenate(columns)) if rows else ([], [])
    return sparse.csr_matrix((values, where), shape=(len(sequences), 20**WORD))


def candidates(queries: Sequence[str], targets: Sequence[str]) -> Iterator[np.ndarray]:
    """For each query, the numbers of the targets that share words with it, the most similar (cosine) first."""
    of_query, of_target = words_of(queries), words_of(targets).T.tocsr()
    for start in range(0, len(queries), QUERY_ROWS):
        shared = (of_query[start : start + QUERY_ROWS] @ of_target).tocsr()
        for row in range(shared.shape[0]):
            part = slice(shared.indptr[row], shared.indptr[row + 1])
            yield shared.indices[part][np.argsort(-shared.data[part], kind="stable")]
