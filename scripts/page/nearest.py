"""The nearest interfaces to a vector: in an atlas, or in a table of vectors made by `ligare embed`."""

from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import DataError
from data.atlas import Atlas, Origin, Rows, unit
from data.atlas_tables import read_embeddings
from models.fingerprint import fingerprint

VECTOR = "h_graph"
SHOWN = ("modality", "group", "pdb_id", "label")
"""Columns of an atlas or table that are worth a cell of the page, where they are there."""


class Neighbours:
    """An atlas (folder) or a table of `h_graph` vectors.

    A CSV table does not tell which model made it; there only the number of columns is compared.

    Raises:
        DataError: it is not there, is neither, or its vectors are not of this model.
    """

    def __init__(self, path: str, model: Any) -> None:
        origin = Origin(VECTOR, fingerprint(model))
        self.atlas: Atlas | None = None
        self.rows: Rows | None = None
        if Path(path).is_dir():
            self.atlas = Atlas(path)
            self.atlas.check(origin)
        elif not Path(path).exists():
            raise DataError("no such atlas or table", path, hint="ligare atlas build, or ligare embed, makes one")
        else:
            rows, made = read_embeddings(Path(path), VECTOR, origin)
            if made != origin:
                raise DataError("was made by another model", path, hint="embed with the checkpoint of this page")
            width = int(model.config.atom_hidden_size)
            self.rows = Rows(rows.ids, unit(rows.vectors, width, path, rows.ids), rows.columns)

    def __len__(self) -> int:
        return len(self.atlas if self.atlas is not None else self.rows or ())

    def of(self, vector: np.ndarray, top: int) -> list[dict[str, str]]:
        """The nearest first: `id`, `cosine`, and what is known of each."""
        if self.atlas is not None:
            places, cosines = self.atlas.search(vector[None], top)
            near = [(int(place), cosine) for place, cosine in zip(places[0], cosines[0]) if place >= 0]
            return [described(self.atlas.ids[place], cosine, self.atlas.facts(place)) for place, cosine in near]
        assert self.rows is not None
        cosines = self.rows.vectors @ (vector / np.linalg.norm(vector))
        nearest = np.argsort(-cosines, kind="stable")[:top]
        known = [{name: values[place] for name, values in self.rows.columns.items()} for place in nearest]
        return [described(self.rows.ids[place], cosines[place], facts) for place, facts in zip(nearest, known)]


def described(name: str, cosine: float, known: dict[str, str]) -> dict[str, str]:
    """One neighbour as the page shows it."""
    return {"id": name, "cosine": f"{cosine:.5f}", **{one: known[one] for one in SHOWN if known.get(one)}}
