"""The checkpoints that come with ligare: found by name from any folder, in a clone and in an installed package."""

from pathlib import Path

PLACE = Path(__file__).resolve().parent.parent / "checkpoints"
PRETRAINED = "pretrain_small"
REGRESSORS = {"affinity_ppi": "affinities of two proteins", "affinity_pl": "affinities of a ligand and a protein"}
SHIPPED = (PRETRAINED, *REGRESSORS)


def shipped_folder(source: str | Path) -> Path | None:
    """The folder of a checkpoint that comes with ligare, by name (`pretrain_small`, `checkpoints/pretrain_small`).

    None for other names, and where a folder of that name lies in the working folder: what the user has goes first.
    """
    name = Path(source)
    if name.name not in SHIPPED or str(name.parent) not in (".", PLACE.name) or name.exists():
        return None
    return PLACE / name.name if (PLACE / name.name).is_dir() else None


def listed_regressors() -> str:
    """The shipped models that predict, in words."""
    return ", ".join(f"{name} ({what})" for name, what in REGRESSORS.items())
