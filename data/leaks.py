"""What the two sides of a split have in common: items, groups, alike proteins, alike ligands."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from data.ligand_similarity import nearest_ligands
from data.sequence_clusters import Aligner, nearest_sequences
from data.split_sequences import ItemSequences
from data.splits import Part

IDENTITIES = (0.3, 0.5, 0.9, 1.0)
SIMILARITIES = (0.4, 0.6, 0.8, 1.0)
# (queries, targets) -> rows of query, nearest target, similarity
Search = Callable[[list[str], list[str]], Iterable[tuple[int, int, float]]]
MAX_QUERIES = 2000  # held-out sequences or ligands that are looked up; of more, a random draw


@dataclass(frozen=True)
class Facts:
    """What is known of the items of a data set, in their order.

    Attributes:
        ids, groups: of the items. sequences: protein sequences; None leaves them out.
        smiles: of the ligands ("": none); None leaves them out.
    """

    ids: Sequence[str]
    groups: Sequence[str]
    sequences: ItemSequences | None = None
    smiles: Sequence[str] | None = None


def leak_report(facts: Facts, parts: Mapping[str, Part], aligner: Aligner = "auto", seed: int = 0) -> dict[str, Any]:
    """Compare every held-out part with `train`.

    Args:
        parts: `train` and others, by the numbers of their items.

    Returns:
        For each other part: `items`, `shared_ids`, `shared_groups`, and where known `sequence_identity` and
        `ligand_similarity` (see `nearest_of_items`).
    """
    train, report = parts["train"].indices, {}
    for name, part in parts.items():
        if name == "train":
            continue
        entry: dict[str, Any] = {"items": len(part.indices)}
        for what, values in (("shared_ids", facts.ids), ("shared_groups", facts.groups)):
            entry[what] = len({values[i] for i in part.indices} & {values[i] for i in train} - {""})
        rng = np.random.default_rng(seed)
        if facts.sequences is not None:
            search = partial(nearest_sequences, aligner=aligner)
            texts = facts.sequences.sequences
            found = nearest_of_items(search, texts, part.indices, train, facts.ids, IDENTITIES, rng)
            found |= {"source": facts.sequences.source, "items_by_blocks_only": facts.sequences.n_from_blocks}
            entry["sequence_identity"] = found
        if facts.smiles is not None:
            ligands = [(smiles,) if smiles else () for smiles in facts.smiles]
            entry["ligand_similarity"] = nearest_of_items(
                by_fingerprint, ligands, part.indices, train, facts.ids, SIMILARITIES, rng
            )
        report[name] = entry
    return report


def by_fingerprint(queries: list[str], targets: list[str]) -> list[tuple[int, int, float]]:
    """Query, nearest target and Tanimoto similarity."""
    return [(i, *hit) for i, hit in enumerate(nearest_ligands(queries, targets))]


def nearest_of_items(
    search: Search,
    texts: Sequence[tuple[str, ...]],
    held_out: np.ndarray,
    train: np.ndarray,
    ids: Sequence[str],
    thresholds: Sequence[float],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """How near the nearest training item is, over held-out items: largest, median, share at or above thresholds.

    Args:
        search: (queries, targets) -> rows of query, nearest target, similarity.
        texts: [items] sequences, or the SMILES; an item is as near as the nearest of them. Items without any don't
            count.
        held_out, train: numbers of items.

    Returns:
        `items` looked up, `largest` with the `closest` pair of ids, `median`, `share_at_least`: threshold -> share.
    """
    known = [i for i in held_out.tolist() if texts[i]]
    if len(known) > MAX_QUERIES:
        known = sorted(rng.choice(known, MAX_QUERIES, replace=False).tolist())
    owner = {text: i for i in reversed(train.tolist()) for text in texts[i]}
    queries, targets = sorted({text for i in known for text in texts[i]}), sorted(owner)
    if not queries or not targets:
        return {"items": 0}
    nearest = {queries[q]: (value, targets[t]) for q, t, value in search(queries, targets)}
    best = [max(nearest.get(text, (0.0, "")) for text in texts[i]) for i in known]
    values = np.array([value for value, _ in best])
    top = int(values.argmax())
    return {
        "items": len(known),
        "largest": float(values[top]),
        "closest": [ids[known[top]], ids[owner[best[top][1]]]] if values[top] else None,
        "median": float(np.median(values)),
        "share_at_least": {str(t): float((values >= t - 1e-9).mean()) for t in thresholds},
    }


def in_words(report: Mapping[str, Any]) -> list[str]:
    """The report as lines to print."""
    lines = []
    for name, entry in report.items():
        lines.append(f"{name} against train: {entry['shared_ids']} shared ids, {entry['shared_groups']} shared groups")
        for key, what in (("sequence_identity", "proteins: identity"), ("ligand_similarity", "ligands: similarity")):
            found = entry.get(key, {"items": 0})
            if not found["items"]:
                continue
            shares = ", ".join(f"{share:.1%} at {limit} or more" for limit, share in found["share_at_least"].items())
            pair = " with ".join(found["closest"] or ["none"])
            lines.append(f"  {what} with the nearest training item at most {found['largest']:.2f} ({pair}); {shares}")
    return lines
