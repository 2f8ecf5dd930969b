"""The console command `ligare`: one sub-command for each script."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import NamedTuple


class Command(NamedTuple):
    module: str
    about: str


COMMANDS: dict[str, Command] = {
    "process": Command("scripts.process_pdbs", "structure files (PDB, mmCIF, SDF) to shards of interfaces"),
    "import": Command("scripts.import_dataset", "published processed data sets to shards"),
    "pockets": Command("scripts.make_pockets", "pockets labelled with what they bind, or whether they bind"),
    "synthesize": Command("scripts.make_synthetic", "make the built-in data set"),
    "large-set": Command("scripts.make_large_set", "a data set of any size out of the items of another"),
    "inspect": Command("scripts.inspect_data", "tell what a folder of shards holds"),
    "split": Command("scripts.split_data", "split shards by group, sequence, scaffold or time, or into folds"),
    "vocabulary": Command("scripts.learn_vocabulary", "learn a fragment vocabulary from a file of SMILES"),
    "train": Command("train", "pretrain or fine-tune"),
    "baselines": Command("scripts.baselines", "trivial predictors on the splits of a task"),
    "collect-results": Command("scripts.collect_results", "tables of baselines and cross-validated models"),
    "cross-validate": Command("scripts.cross_validate", "folds and seeds of a task, and their ensembles"),
    "predict": Command("scripts.predict", "what fine-tuned checkpoints say of structures, an index or shards"),
    "embed": Command("scripts.get_embeddings", "vectors of complexes, sides, blocks or atoms, of the same inputs"),
    "explain": Command("scripts.interact_score", "which blocks matter: tables, scored structures, pages"),
    "check-explanations": Command("scripts.check_explanations", "whether the blocks that matter are those in contact"),
    "evaluate-pretraining": Command("scripts.evaluate_pretraining", "losses and masked accuracy against baselines"),
    "convert": Command("scripts.convert_checkpoint", "published checkpoints to ours, and back"),
    "plot": Command("scripts.plot_training", "curves of one or several runs"),
    "quickstart": Command("scripts.quickstart", "the built-in data, a short pretraining, a report"),
}


def usage() -> str:
    width = max(map(len, COMMANDS))
    rows = [f"  {name:<{width}}  {command.about}" for name, command in COMMANDS.items()]
    return "\n".join(["usage: ligare COMMAND [options]   (ligare COMMAND --help tells the options)", "", *rows])


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    name, *rest = arguments
    if name == "--version":
        print(f"ligare {version('ligare')}")
        return 0
    if name not in COMMANDS:
        print(f"ligare: unknown command {name!r}\n\n{usage()}", file=sys.stderr)
        return 2
    command: Callable[[Sequence[str]], int] = import_module(COMMANDS[name].module).main
    sys.argv[0] = f"ligare {name}"
    return command(rest)


if __name__ == "__main__":
    sys.exit(main())
