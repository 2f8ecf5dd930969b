"""What the report of a run shows, section by section, and the page itself: one file that needs no network."""

import base64
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from configs.errors import LigareError
from configs.words import count_of
from scripts import run_figures
from scripts.html_head import PICTURES, STYLES, head
from scripts.plot_training import BESIDE, choose, curves, drawable, panels
from trainers.predicted import Predicted, read_predicted
from trainers.run_record import RunRecord, as_text, changed_options, data_sets

TEMPLATE = "run_page.html"
MANY_GROUPS = 20
MANY_TARGETS = 12
NO_TABLES = {
    "masking": "This task names masked blocks: it has no prediction for each item.",
    "prot_interface": "This task compares pairs with each other: it has no prediction for each item.",
    "pretrain": "Pretraining has no prediction for each item; scripts/evaluate_pretraining.py measures it on noise.",
}


def render(context: Mapping[str, Any]) -> str:
    """The page; whatever comes from data sets and runs is escaped."""
    place = FileSystemLoader(Path(__file__).parent)
    pages = Environment(loader=place, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    try:
        made_by = version("ligare")
    except PackageNotFoundError:
        made_by = "(not installed)"
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    top = Markup(head(str(context["title"]), STYLES, PICTURES))
    return pages.get_template(TEMPLATE).render(**context, head=top, version=made_by, made=made)


def run_context(record: RunRecord) -> dict[str, Any]:
    """What the page of one run shows."""
    notes: list[str] = list(record.notes)
    launches = record.launches or ([record.config] if record.config else [])
    return {
        "title": f"{record.folder.resolve().parent.name}/{record.folder.resolve().name}",
        "subtitle": subtitle(record),
        "state": record.state(),
        "tiles": tiles(record),
        "scores": list(scores(record)),
        "curves": picture_of(curves_of({record.folder.name: drawable(record.history)})),
        "predictions": list(predictions(record, notes)),
        "no_predictions": no_predictions(record),
        "notes": notes,
        "warnings": record.warnings,
        "bad_steps": [bad_step(one) for one in record.bad_steps],
        "bad_about": in_short(record.bad_steps),
        "runs": [],
        "data": [data_row(row) for row in data_sets(record)],
        "environment": environment(launches[-1]) if launches else [],
        "launches": [launch_row(one) for one in record.launches],
        "options": [(name, as_text(value)) for name, value in sorted(record.options.items())],
        "changed": [(name, as_text(value), as_text(usual)) for name, value, usual in changed_options(record.options)],
        "finetune": loaded(record.finetune),
        "card": record.card,
    }


def picture_of(figure: Any) -> str:
    """A figure as the address of an image inside the page; empty for none."""
    if figure is None:
        return ""
    return "data:image/svg+xml;base64," + base64.b64encode(run_figures.as_svg(figure).encode()).decode()


def curves_of(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> Any:
    """The figure of one or several histories; None when nothing was logged."""
    names = panels(histories)
    beside = [name for name, entry in BESIDE.items() if any(one.get(entry) for h in histories.values() for one in h)]
    chosen = [name for name in choose(names, None) if name not in BESIDE]
    return curves(histories, [*chosen, *beside]) if names else None


def subtitle(record: RunRecord) -> str:
    parts = [record.task or "unknown task", str(record.config.get("model") or "")]
    size = record.config.get("parameters")
    parts.append(f"{size:,} parameters" if isinstance(size, int) else "")
    return ", ".join(part for part in parts if part) + f"; {record.folder}"


def tiles(record: RunRecord) -> Iterator[tuple[str, str]]:
    """The few numbers to see first."""
    for name in ("test", "valid"):
        found = (record.final.get("sets") or {}).get(name, {}).get("scores", {}).get(record.final.get("monitor"))
        if found:
            yield f"{record.final['monitor']}, {name} set", score_cells(found)[0]
    if not record.final and (best := best_epoch(record)) is not None:
        for name, value in list(best["valid"].items())[:2]:
            yield f"{name}, best epoch so far, validation", number(value)
    planned = record.options.get("max_epoch")
    yield "epochs", f"{len(record.epochs)}" + (f" of {planned}" if planned else "")
    yield "steps", f"{max((one['step'] for one in drawable(record.history)), default=0):,}"
    if record.bad_steps:
        yield "bad steps", str(len(record.bad_steps))


def best_epoch(record: RunRecord) -> Mapping[str, Any] | None:
    """The last validated epoch that improved, or the last one."""
    validated = [one for one in record.epochs if one.get("valid")]
    return next((one for one in reversed(validated) if one.get("improved")), validated[-1] if validated else None)


def scores(record: RunRecord) -> Iterator[dict[str, Any]]:
    """A table of scores for each measured set; without a final report that of the best epoch so far."""
    sets = record.final.get("sets") or {}
    for name in sorted(sets, key=lambda name: name != "test"):
        one = sets[name]
        with_ends = any(score.get("low") is not None for score in one["scores"].values())
        counts = count_of(one["items"], "item")
        counts += f" in {count_of(one['groups'], 'group')}" if one.get("groups") else ""
        made = f"95 % intervals of {record.final.get('resamples')} resamples of whole groups"
        unit = f", in {record.final['unit']}" if record.final.get("unit") else ""
        about = f"{counts}{unit}; {made if with_ends else 'no intervals were made'}; {record.final.get('checkpoint')}"
        about += "; this set chose the checkpoint, which flatters a little" if name == "valid" else ""
        rows: list[tuple] = [(metric, *score_cells(score)) for metric, score in one["scores"].items()]
        head = ["score", "value", "from", "to"] if with_ends else ["score", "value"]
        yield table_of(f"{name} set", about, head, [row[: len(head)] for row in rows])
    best = best_epoch(record)
    if not sets and best is not None:
        rows = [(name, number(value)) for name, value in best["valid"].items()]
        about = f"epoch {best.get('epoch')}; there is no final report, so no intervals and no test set"
        yield table_of("validation set, best epoch so far", about, ["score", "value"], rows)


def table_of(title: str, about: str, head: list[str], rows: list[tuple]) -> dict[str, Any]:
    """Scores; those of single targets and classes (accuracy/NAME) apart."""
    more = [row for row in rows if "/" in row[0]]
    return {
        "title": title,
        "about": about,
        "head": head,
        "rows": [row for row in rows if row not in more],
        "more": more,
    }


def score_cells(score: Mapping[str, Any]) -> tuple[str, str, str]:
    """Value and ends of an interval."""
    return number(score.get("value")), number(score.get("low")), number(score.get("high"))


def number(value: Any) -> str:
    """A number with four digits; `-` for none."""
    return f"{value:.4g}" if isinstance(value, (int, float)) and value == value else "-"


def predictions(record: RunRecord, notes: list[str]) -> Iterator[dict[str, Any]]:
    """Of each set, the test set first, and each target."""
    labels = record.config.get("labels") or {}
    for name in sorted(record.tables, key=lambda name: name != "test"):
        try:
            found = read_predicted(record.tables[name], labels, str(labels.get("unit") or ""))
        except LigareError as error:
            notes.append(f"{record.tables[name].name} {error.what}")
            continue
        if len(found) > MANY_TARGETS:
            notes.append(f"{record.tables[name].name}: {MANY_TARGETS} of {len(found)} targets are shown")
        for one in found[:MANY_TARGETS]:
            yield described(one, f"{name} set" + (f": {one.name}" if one.name else ""))


def described(found: Predicted, title: str) -> dict[str, Any]:
    """Everything that is told of the predictions of one target."""
    kind = "ROC, precision and recall, confusion matrix" if found.classes else "predicted against measured values"
    told: dict[str, Any] = {"title": title, "kind": kind, "picture": "", "note": ""}
    if not len(found.ids):
        return told | {"about": "0 items", "note": "No item of this set has a known value."}
    told["about"] = f"{count_of(len(found.ids), 'item')}; {kind}"
    told["picture"] = picture_of(run_figures.classes(found) if found.classes else run_figures.parity(found))
    unit = f" ({found.unit})" if found.unit else ""
    lost = "share of wrong items" if found.classes else f"mean absolute error{unit}"
    kept = run_figures.coverage(found, "accuracy" if found.classes else lost)
    size = "1 - probability of the right class" if found.prob is not None else "1 for a wrong class"
    return told | {
        **by_group(found, lost),
        "worst": [list(row.values()) for row in found.worst()],
        "worst_about": f"Error: {size if found.classes else f'|predicted - value|{unit}'}.",
        "worst_numbers": ["error"] if found.classes else ["value", "predicted", "error"],
        "coverage": picture_of(kept),
        "no_coverage": "These predictions carry no confidence." if found.confidence is None else "All are as sure.",
        "sure": f"{found.sure}; it is worth {number(found.gain)} (1: it orders items by their error, 0: nothing)",
    }


def by_group(found: Predicted, lost: str) -> dict[str, Any]:
    """Table and bars of the errors of groups."""
    table = found.by_group()
    head = ["group", "items", lost] + ([] if found.classes else ["mean of predicted - value"])
    rows = [[r.group or "(no name)", r.items, number(r.error), number(r.bias)][: len(head)] for r in table.itertuples()]
    if len(table) < 2:
        return {"bars": "", "groups": rows, "groups_head": head, "groups_about": "All items are of one group."}
    alone = int((table["items"] == 1).sum())
    about = count_of(len(table), "group") + (f", {alone} of a single item" if alone else "") + "; items in brackets"
    about += f"; the {MANY_GROUPS} largest are drawn" if len(table) > MANY_GROUPS else ""
    largest = table.nlargest(MANY_GROUPS, "items").sort_index()
    bars = run_figures.group_bars(largest, float(found.lost.mean()), lost)
    return {"bars": picture_of(bars), "groups": rows, "groups_head": head, "groups_about": about}


def no_predictions(record: RunRecord) -> str:
    told = next((told for task, told in NO_TABLES.items() if record.task.startswith(task)), "")
    return told or "No predictions are stored: they are written at the end, with --final_report."


def bad_step(one: Mapping[str, Any]) -> list[str]:
    """A row for a step that went wrong."""
    ids = [str(name) for rank in one.get("ranks") or [] for name in rank.get("ids") or []]
    names = ", ".join(ids[:20]) + (f" and {len(ids) - 20} more" if len(ids) > 20 else "")
    place = [as_text(one.get(name)) for name in ("phase", "epoch", "batch", "step", "action", "reason")]
    return [*place, names or "-"]


def in_short(bad: Sequence[Mapping[str, Any]]) -> str:
    """How often what was done, and why."""
    counts: dict[str, int] = {}
    for one in bad:
        what = f"{one.get('action')} in {one.get('phase')}: {one.get('reason')}"
        counts[what] = counts.get(what, 0) + 1
    return "; ".join(f"{what}, {count} times" if count > 1 else what for what, count in counts.items())


def data_row(row: Mapping[str, Any]) -> list[Any]:
    kinds = ", ".join(f"{name} {count}" for name, count in (row.get("modalities") or {}).items())
    items = f"{row['items']:,}" if "items" in row else "-"
    role = str(row["role"]).replace("_", " ")
    return [role, row["path"], items, row.get("groups", "-"), kinds or row.get("note", "-"), row["sha256"] or "-"]


def environment(launch: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Machine, versions and commit of one launch."""
    machine = dict(launch.get("environment") or {})
    variables = machine.pop("variables", None) or {}
    rows = [("device", as_text(launch.get("device"))), *((name, as_text(value)) for name, value in machine.items())]
    rows.append(("versions", ", ".join(f"{name} {value}" for name, value in (launch.get("versions") or {}).items())))
    rows += [(f"${name}", as_text(value)) for name, value in variables.items()]
    changed = " with uncommitted changes" if launch.get("uncommitted") else ""
    return [*rows, ("commit", as_text(launch.get("commit")) + changed)]


def launch_row(launch: Mapping[str, Any]) -> list[str]:
    command = " ".join(map(str, launch.get("command") or []))
    return [as_text(launch.get(name)) for name in ("started", "world_size", "commit")] + [command]


def loaded(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Numbers of finetune.json: what came from the checkpoint, and what trains."""
    rows = [(name.replace("_", " "), report.get(name)) for name in ("loaded", "new", "left_over")]
    lists = [(f"{name} (tensors)", str(len(value))) for name, value in rows if isinstance(value, list)]
    counts = [(f"{name} (parameters)", f"{value:,}") for name, value in (report.get("parameters") or {}).items()]
    return lists + counts
