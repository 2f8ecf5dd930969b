"""What the page does with a structure: tell what is in it, and embed, compare, predict and explain one interface.

It runs in a process of its own (`scripts.page.worker`), with the folder of an upload as the working directory, so that
messages name files as the user knows them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import ConfigError, DataError, LigareError
from configs.files import atomic_write
from data.discover import Found, discover
from data.inputs import InputItem, InputOptions, open_inputs
from data.partners import ligand_names, partner_kind, select_chains
from data.residues import is_sugar
from data.structure import Structure, read_structure
from data.vocab import MODALITIES
from data.write_structure import b_factors, scored_structure, write_structure
from data.write_table import open_table
from models.answers import Answer
from models.embed import embed_items
from models.explain import block_importance
from models.explained import TARGETS, Explained, Importance
from models.load_any import ModelOptions, load_model, load_models
from models.named import Wanted, backbone_of, vocabulary_of
from models.predict import Predictor
from scripts.complex_page import blocks_of, complex_page
from scripts.interact_score import WORDS, columns
from scripts.page.nearest import Neighbours
from scripts.page.results import OUT, RESULTS, STRUCTURE, TABLE, VIEW

MOST_LISTED = 500
INTERVAL = 0.8  # share of the truths between low and high
COLUMN_WORDS = {
    "unknown_fraction": "share of blocks that training lacked",
    "unseen_kind": "kind of complex that training lacked",
    "confidence": "confidence (0 to 1)",
}
ASKED = {
    "complex": "the vector of the complex",
    "segment0": "the vector of side 1",
    "segment1": "the vector of side 2",
    "prediction": "the prediction",
}


@dataclass(frozen=True)
class Settings:
    """What the page works with.

    Attributes:
        checkpoint, config, weights: one model for vectors and scores, ours or published, as in `ModelOptions`.
        predictor: fine-tuned checkpoints, several make an ensemble.
        atlas: folder or table of vectors among which neighbours are looked for; "": none.
        device: of all models. top: neighbours and blocks that are listed.
    """

    checkpoint: tuple[str, ...] = ()
    config: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    predictor: tuple[str, ...] = ()
    atlas: str = ""
    device: str = "cpu"
    top: int = 10


@dataclass
class Bench:
    """The models and the vectors, loaded once.

    Raises:
        CheckpointError, DataError, ConfigError: what the settings name is not there, or does not fit.
    """

    settings: Settings
    model: Any = field(init=False)
    predictor: Predictor | None = field(init=False, default=None)
    interval: float | None = field(init=False, default=None)
    neighbours: Neighbours | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        given = self.settings
        self.model = load_model(ModelOptions(given.checkpoint, given.config, given.weights, given.device))
        backbone_of(self.model)  # what has no vectors is refused now, not with every order
        if given.predictor:
            self.predictor = Predictor(load_models(ModelOptions(given.predictor, device=given.device)))
            self.interval = self.calibrated(self.predictor)
        if given.atlas:
            self.neighbours = Neighbours(given.atlas, self.model)

    @staticmethod
    def calibrated(predictor: Predictor) -> float | None:
        """`INTERVAL`, where the checkpoints hold what it needs."""
        try:
            predictor.check_intervals(INTERVAL)
        except LigareError:
            return None
        return INTERVAL

    @property
    def targets(self) -> list[str]:
        """What can be explained: a prediction only if the first predictor is a model that can be asked why."""
        return [name for name in TARGETS if name != "prediction" or self.explains_predictions]

    @property
    def explains_predictions(self) -> bool:
        if self.predictor is None:
            return False
        try:
            Explained(self.predictor.models[0], "prediction")
        except (ConfigError, AttributeError):  # composition models have no encoder to ask
            return False
        return True

    @property
    def name(self) -> str:
        """Of the folder that the model is in."""
        given = self.settings
        return Path(given.checkpoint[0]).name if given.checkpoint else Path(given.weights[0]).parent.name

    def about(self) -> dict[str, Any]:
        """What the page says of itself."""
        return {
            "model": self.name,
            "predicts": [] if self.predictor is None else [answer.name for answer in self.predictor.answers],
            "interval": ""
            if self.interval is None
            else f"{100 * self.interval:g} % of the truths lie between low and high.",
            "neighbours": "" if self.neighbours is None else f"{len(self.neighbours)} interfaces",
            "targets": [{"name": name, "words": ASKED[name]} for name in self.targets],
        }


def look(file: str) -> dict[str, Any]:
    """The chains, ligands and interfaces of a structure file; StructureError for a file that is none."""
    structure = read_structure(file)
    polymers = dict.fromkeys(structure.chain[structure.polymer].tolist())
    chains = []
    for name in structure.chains():
        partner = select_chains(structure, name)
        kind = partner_kind(structure, partner) if name in polymers else "small molecules"
        chains.append({"name": name, "text": f"{name or '(blank)'}: {kind}, {len(partner.residues)} residues"})
    others = np.flatnonzero(~structure.polymer)
    ligands = [
        {
            "text": text,
            "chain": str(structure.chain[r]),
            "code": str(structure.resname[r]),
            "number": number_of(structure, r),
        }
        for r, text in zip(others, ligand_names(structure))
    ]
    found = [choice(structure, one) for one in discover(structure)]
    return {
        "chains": chains[:MOST_LISTED],
        "ligands": ligands[:MOST_LISTED],
        "interfaces": found[:MOST_LISTED],
        "hidden": max(0, *(len(listed) - MOST_LISTED for listed in (chains, ligands, found))),
    }


def number_of(structure: Structure, residue: Any) -> str:
    return f"{structure.resid[residue]}{structure.icode[residue]}"


def choice(structure: Structure, found: Found) -> dict[str, Any]:
    """An interface that was found, in the words of the index."""
    first, second = (partner.residues for partner in found.partners)
    named = {"lig_code": "", "lig_resi": "", "chain1": joined(structure, first), "chain2": joined(structure, second)}
    if found.partners[1].molecules:
        codes = structure.resname[second].tolist()
        if len(codes) > 1 and all(map(is_sugar, codes)):
            named["lig_code"] = "-".join(codes)
        else:
            named |= {"lig_code": codes[0], "lig_resi": number_of(structure, second[0])}
    return named | {"text": f"{found.name} ({found.modality})"}


def joined(structure: Structure, residues: np.ndarray) -> str:
    return "_".join(dict.fromkeys(structure.chain[residues].tolist()))


def analyse(bench: Bench, order: dict[str, Any]) -> dict[str, Any]:
    """Embed, compare, predict and explain one interface; writes `results.RESULTS`.

    Args:
        order: `file`; `chain1`, `chain2`, `lig_code`, `lig_resi`, `ligand_path` as in an index; `target` of the scores.

    Raises:
        LigareError: the file does not have what is named (lists what it has).
    """
    vocabulary, target = vocabulary_of(bench.model), order["target"]
    entry = read_entry(vocabulary, order)
    if target not in bench.targets:
        raise ConfigError(f"{target!r} is not known", "target", hint=f"known: {', '.join(bench.targets)}")
    [embedded] = embed_items(bench.model, [entry], Wanted(("h_graph",)))
    vector = embedded.vectors["h_graph"][0]
    explained, asked = bench.model, entry
    if target == "prediction" and bench.predictor is not None:
        explained, vocabulary = bench.predictor.models[0], bench.predictor.vocabulary
        asked = read_entry(vocabulary, order)
    importance = block_importance(explained, asked.item, target)
    write_results(asked, importance, target, vocabulary)
    blocks = sorted(blocks_of(asked.item, importance.score), key=lambda block: block["rank"])
    modality = entry.item.modality
    return {
        "name": entry.name,
        "sides": " and ".join(sides_of(order)),
        "kind": MODALITIES[modality] if modality >= 0 else "",
        "blocks": entry.item.n_blocks,
        "atoms": len(entry.item.X),
        "vector": [round(float(value), 5) for value in vector],
        "neighbours": [] if bench.neighbours is None else bench.neighbours.of(vector, bench.settings.top),
        "predictions": predictions(bench, order),
        "what": WORDS[target],
        "top": blocks[: bench.settings.top],
        "files": [name for name in RESULTS if name != VIEW],
    }


def sides_of(order: dict[str, Any]) -> list[str]:
    """The two sides that were chosen, in words."""

    def chains(names: Any) -> str:
        several = str(names).split("_")
        return f"chain{'s' if len(several) > 1 else ''} {', '.join(several)}"

    first = chains(order["chain1"]) if order.get("chain1") else "what is near"
    if order.get("ligand_path"):
        return [first, str(order["ligand_path"])]
    if order.get("lig_code"):
        place = f" in {chains(order['chain2'])}" if order.get("chain2") else ""
        return [first, f"{order['lig_code']} {order.get('lig_resi') or ''}".strip() + place]
    return [first, chains(order["chain2"])] if order.get("chain2") else [first]


def read_entry(vocabulary: str | None, order: dict[str, Any]) -> InputItem:
    """The one interface of an order, in the blocks of a vocabulary."""
    names = ("chain1", "chain2", "lig_code", "lig_resi", "ligand_path")
    selection = {name: str(order.get(name) or "") for name in names}
    if not any(selection.values()):
        raise DataError("nothing is chosen", order["file"], hint="choose the chains of side 1, and side 2")
    options = InputOptions(order["file"], **selection)  # type: ignore[arg-type]
    [entry] = open_inputs(options, vocabulary)
    return entry


def predictions(bench: Bench, order: dict[str, Any]) -> list[dict[str, str]]:
    """What the predictor says, as a table of two columns."""
    if bench.predictor is None:
        return []
    [found] = bench.predictor([read_entry(bench.predictor.vocabulary, order)])
    said = bench.predictor.columns(found, level=bench.interval)
    answers = bench.predictor.answers
    known = {name: values[0] for name, values in said.items() if str(values[0])}
    return [{"name": in_words(name, answers), "value": shown(value)} for name, value in known.items()]


def in_words(column: str, answers: Sequence[Answer]) -> str:
    """A column of predictions as the page calls it: the ends of an interval with their unit, others explained."""
    if column in ("low", "high"):
        (number,) = (answer.name for answer in answers if not answer.outputs)
        return column + number[len(number.rpartition(" (")[0]) :] if number.endswith(")") else column
    return COLUMN_WORDS.get(column, column)


def shown(value: Any) -> str:
    return f"{float(value):.3f}" if isinstance(value, (float, np.floating)) else str(value)


def write_results(entry: InputItem, importance: Importance, target: str, vocabulary: str | None) -> None:
    """The table, the scored structure and the 3D view."""
    signed = target == "prediction"
    with open_table(Path(OUT, TABLE)) as table:
        table.write(columns(entry, importance, vocabulary))
    structure = scored_structure(entry.item, b_factors(importance.score, signed), 50.0 if signed else 0.0, entry.path)
    write_structure(structure, Path(OUT, STRUCTURE))
    page = complex_page(entry.item, importance.score, entry.name, f"Score: {WORDS[target]}", signed, structure)
    atomic_write(Path(OUT, VIEW), page)
