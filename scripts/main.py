"""The console command `ligare`: one sub-command for each script.

Nothing heavy is imported here: a command's module is, once it is chosen. `scripts/soak.py` and `scripts/benchmark.py`
are no commands, for what they run lies beside the package rather than in it.
"""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NamedTuple

from configs.command import CONSOLE, called_as, command

GROUPS = {"data": "Data", "train": "Train", "use": "Use", "develop": "Look after and develop"}


class Command(NamedTuple):
    """A module with a `main`, what it does, and the group it is listed in."""

    module: str
    about: str
    group: str = "use"


COMMANDS: dict[str, Command] = {
    "process": Command("scripts.process_pdbs", "structure files (PDB, mmCIF, SDF) to shards of interfaces", "data"),
    "import": Command("scripts.import_dataset", "published processed data sets to shards", "data"),
    "pockets": Command("scripts.make_pockets", "pockets labelled with what they bind, or whether they bind", "data"),
    "synthesize": Command("scripts.make_synthetic", "make the built-in data set", "data"),
    "planted": Command("scripts.planted", "which part of a known label each kind of model explains", "develop"),
    "large-set": Command("scripts.make_large_set", "a data set of any size out of the items of another", "develop"),
    "inspect": Command("scripts.inspect_data", "tell what a folder of shards holds", "data"),
    "split": Command("scripts.split_data", "split shards by group, sequence, scaffold or time, or into folds", "data"),
    "vocabulary": Command("scripts.learn_vocabulary", "learn a fragment vocabulary from a file of SMILES", "data"),
    "train": Command("train", "pretrain or fine-tune", "train"),
    "baselines": Command("scripts.baselines", "trivial predictors on the splits of a task", "train"),
    "collect-results": Command("scripts.collect_results", "tables of baselines and cross-validated models", "train"),
    "cross-validate": Command("scripts.cross_validate", "folds and seeds of a task, and their ensembles", "train"),
    "fit-affinity": Command("scripts.fit_affinity", "a small regressor for few labels, and its scores", "train"),
    "predict": Command("scripts.predict", "what fine-tuned checkpoints say of structures, an index or shards"),
    "embed": Command("scripts.get_embeddings", "vectors of complexes, sides, blocks or atoms, of the same inputs"),
    "explain": Command("scripts.interact_score", "which blocks matter: tables, scored structures, pages"),
    "app": Command("scripts.app", "a local web page: drop a structure, see neighbours, predictions, scores in 3D"),
    "check-explanations": Command(
        "scripts.check_explanations", "whether the blocks that matter are those in contact", "develop"
    ),
    "evaluate-pretraining": Command(
        "scripts.evaluate_pretraining", "losses and masked accuracy against baselines", "train"
    ),
    "convert": Command("scripts.convert_checkpoint", "published checkpoints to ours, and back"),
    "atlas": Command("scripts.atlas", "nearest interfaces, networks and maps of many of them by their vectors"),
    "fetch": Command("scripts.fetch_structures", "entries of the Protein Data Bank by id", "data"),
    "plot": Command("scripts.plot_training", "curves of one or several runs", "train"),
    "quickstart": Command("scripts.quickstart", "the built-in data, a short pretraining, a report", "develop"),
    "report": Command("scripts.report", "one HTML page of a run: data, curves, errors, worst items", "train"),
    "doctor": Command("scripts.doctor", "what is installed, what is missing, whether the numbers are right", "develop"),
    "completion": Command("scripts.completion", "completion of commands and flags for bash, zsh or fish", "develop"),
}


def usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [
        "usage: ligare COMMAND [options]   (ligare COMMAND --help tells the options, ligare --version the version)"
    ]
    for group, title in GROUPS.items():
        lines += ["", f"{title}:"]
        lines += [f"  {name:<{width}}  {one.about}" for name, one in COMMANDS.items() if one.group == group]
    return "\n".join(lines)


@command("ligare")
def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if arguments else 2
    name, *rest = arguments
    if name in ("-V", "--version"):
        from importlib.metadata import version

        print(f"ligare {version('ligare')}")
        return 0
    if name not in COMMANDS:
        print(f"ligare: unknown command {name!r}{near(name)}", file=sys.stderr)
        return 2
    with called_as(f"{CONSOLE}{name}"):
        run: Callable[[Sequence[str]], int] = import_module(COMMANDS[name].module).main
        return run(rest)


def near(name: str) -> str:
    """The commands that may have been meant, or where all of them are told."""
    from difflib import get_close_matches

    of_scripts = {one.module.rpartition(".")[2]: command for command, one in COMMANDS.items()}
    plain = name.removesuffix(".py").replace("-", "_")
    if plain in of_scripts:
        return f" (did you mean {of_scripts[plain]}?)"
    close = get_close_matches(name, COMMANDS, n=3, cutoff=0.5)
    close = close or [command for command in COMMANDS if len(name) > 2 and command.startswith(name)]
    return f" (did you mean {' or '.join(close)}?)" if close else "; `ligare --help` lists all"


if __name__ == "__main__":
    sys.exit(main())
