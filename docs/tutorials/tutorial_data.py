"""Where the tutorials find structures, and where they work.

Structures come from the folder that the environment variable INTERFACE_DATA names (by default `shared/data` beside the
repository), else from the Protein Data Bank.
"""

import os
import shutil
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINT = ROOT / "checkpoints" / "pretrain_small"
DATA = Path(os.environ.get("INTERFACE_DATA", ROOT.parent / "shared" / "data"))
HOMES = ("ppi_affinity/pdb", "pretrain/structures")


def work() -> None:
    """Go to a new, empty folder, so that a tutorial leaves nothing in yours."""
    os.chdir(tempfile.mkdtemp(prefix="ligare-tutorial-"))


def structure(pdb_id: str) -> Path:
    """The structure file of a PDB entry, in the folder `structures` of the working folder."""
    folder = Path("structures")
    folder.mkdir(exist_ok=True)
    for home in HOMES:
        for found in sorted((DATA / home).glob(f"{pdb_id}.*")):
            return Path(shutil.copy(found, folder))
    return fetched(pdb_id, folder)


def fetched(pdb_id: str, folder: Path) -> Path:
    """An entry from the Protein Data Bank; RuntimeError without a network."""
    from scripts.fetch_structures import main

    if main([pdb_id, "--out", str(folder), "--retries", "1"]) != 0:
        raise RuntimeError(f"{pdb_id} is not there; name a folder of structures by INTERFACE_DATA, or go online")
    return next(folder.glob(f"{pdb_id}.*"))
