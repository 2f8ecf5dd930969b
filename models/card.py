"""The model card beside stored weights: what is known about them, and what is not."""

import json
from collections.abc import Mapping
from typing import Any

CARD = "README.md"
COMPOSITION, KERNEL = "CompositionModel", "KernelModel"
KINDS = {
    COMPOSITION: "A model of composition, without geometry,",
    KERNEL: "A small regressor on descriptors and frozen representations",
}
SIZES = (
    "atom_hidden_size",
    "edge_size",
    "n_layers",
    "k_neighbors",
    "block_encoding",
    "fragmentation_method",
    "padding",
)
TRAINING_OPTIONS = ("task", "lr", "batch_size", "max_blocks", "max_epoch", "seed")
EMBEDDING, OUTPUTS = "output.graph_repr [graphs, hidden size]", {KERNEL: "output.pred [graphs]"}
MEASURED = {KERNEL: "Of regressors that have not seen the group of an item, which this one, fitted to all items, has."}
UNKNOWN_LICENCE = "unknown"
EPOCH_MEANS = "Means over the epoch of this checkpoint."
NOT_RECORDED = "Not recorded."


def model_card(config: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Markdown with the metadata block that the hub reads.

    Args:
        config: with `model_type`.
        facts: of the weights, all optional: license; parameters; epoch, step; metrics {"train": {}, "valid": {}};
            training {command, options, data, started, versions, commit, device}; converted_from. Others are listed.
    """
    training = facts.get("training") or {}
    sections = {
        "Use": _use(config) + _labels(facts.get("labels") or {}),
        "Data": _data(facts, training),
        "Training": _training(facts, training),
        "Metrics": _metrics(facts.get("metrics") or {}, MEASURED.get(config["model_type"], EPOCH_MEANS)),
        "Licence": _licence(str(facts.get("license") or UNKNOWN_LICENCE)),
        "Limits": _limits(config, facts),
    }
    parts = [_metadata(facts), f"# {config['model_type']}", _summary(config, facts)]
    parts += [f"## {title}\n\n{text}" for title, text in sections.items()]
    return "\n\n".join(parts) + "\n"


def _metadata(facts: Mapping[str, Any]) -> str:
    licence = json.dumps(str(facts.get("license") or UNKNOWN_LICENCE))  # a JSON string is a YAML string
    tags = ["ligare", "molecular-interactions", "geometric-deep-learning"]
    return "\n".join(["---", "library_name: ligare", f"license: {licence}", f"tags: {json.dumps(tags)}", "---"])


def _summary(config: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    sizes = table([(name, config[name]) for name in SIZES if name in config], ("configuration", "value"))
    count = f" of {facts['parameters']:,} parameters" if isinstance(facts.get("parameters"), int) else ""
    kind = KINDS.get(config["model_type"], "A geometric model")
    return f"{kind}{count} of the interface between two molecules, made with `ligare`.\n\n{sizes}"


def _use(config: Mapping[str, Any]) -> str:
    return "\n".join(
        [
            "```python",
            "from models import from_pretrained",
            "",
            'model = from_pretrained("this folder, or owner/model")',
            f"output = model.infer(batch)  # a {config['model_type']}; {OUTPUTS.get(config['model_type'], EMBEDDING)}",
            "```",
        ]
    )


def _labels(labels: Mapping[str, Any]) -> str:
    """What the outputs of a model with labels mean."""
    if labels.get("classes"):
        return f"\n\nClasses, in the order of its outputs: {', '.join(map(code, map(str, labels['classes'])))}."
    if labels.get("labels"):
        return f"\n\nLabels, in the order of its outputs: {', '.join(map(code, map(str, labels['labels'])))}."
    if not labels.get("names"):
        return ""
    unit = f", in {code(labels['data_unit'])}" if labels.get("data_unit") else ""
    names = ", ".join(map(code, map(str, labels["names"])))
    return f"\n\nIt predicts {names}{unit}: `models.units.predict_in_unit(model, batch)`."


def _data(facts: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    if facts.get("converted_from"):
        files = code(facts["converted_from"])
        return f"Converted from published files, whose makers describe the data: {files}."
    seen = facts.get("seen_kinds") or {}
    kinds = (
        f"Kinds of complexes, items of each: {', '.join(f'{name} {n}' for name, n in seen.items())}." if seen else ""
    )
    rows = [(folder, f"sha256 {checksum}") for folder, checksum in (training.get("data") or {}).items()]
    if not rows:
        return kinds or NOT_RECORDED
    known = table(rows, ("data set", "checksum of its manifest"))
    vocabulary = training.get("vocabulary")
    parts = [known, f"Block vocabulary: {code(vocabulary)}." if vocabulary else "", kinds]
    return "\n\n".join(filter(None, parts))


def _training(facts: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    command = training.get("command")
    lines = [f"```\n{' '.join(map(str, command))}\n```" if command else NOT_RECORDED]
    options = training.get("options") or {}
    rows = [(name, facts[name]) for name in ("epoch", "step") if facts.get(name) is not None]
    rows += [(name, options[name]) for name in TRAINING_OPTIONS if options.get(name) is not None]
    rows += [(name, training[name]) for name in ("started", "device", "world_size", "commit") if training.get(name)]
    rows += [(f"version of {name}", version) for name, version in (training.get("versions") or {}).items()]
    return "\n\n".join(lines + ([table(rows, ("of the run", "value"))] if rows else []))


def _metrics(metrics: Mapping[str, Any], told: str) -> str:
    names = dict.fromkeys(name for part in metrics.values() if part for name in part)
    if not names:
        return NOT_RECORDED
    parts = [part for part in metrics if metrics[part]]
    rows = [(name, *(number(metrics[part].get(name)) for part in parts)) for name in names]
    return f"{told}\n\n" + table(rows, ("metric", *parts))


def _licence(licence: str) -> str:
    if licence == UNKNOWN_LICENCE:
        return 'Not stated. The owner of the weights states it with `facts={"license": ...}` when saving them.'
    return code(licence)


def _limits(config: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    limits = [
        "It sees heavy atoms only: no hydrogens, charges, bond orders or solvent that is not in the structure.",
        "Elements, residues and fragments outside its vocabulary all count as one unknown type.",
        "It was made for interfaces, the residues and ligand atoms near both partners, not for whole structures.",
        "Its numbers are no measurement and no medical advice; check them on data of your own, split by similarity.",
    ]
    if "Pretrain" in str(config["model_type"]):
        limits.append("It is pretrained only: its embeddings are the product, its noise heads predict no property.")
    if not (facts.get("metrics") or {}).get("valid"):
        limits.append("No validation metric is recorded here.")
    return "\n".join(f"- {limit}" for limit in limits)


def table(rows: list[tuple], head: tuple[str, ...]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def code(value: Any) -> str:
    text = value if isinstance(value, str) else ", ".join(f"{k} {v}" for k, v in dict(value).items())
    return f"`{text.replace('`', '')}`"


def number(value: Any) -> str:
    return "" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)
