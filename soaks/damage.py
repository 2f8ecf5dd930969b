"""Files cut short and bytes changed, at many places of every file: what is read then is right, or refused by name.

A training state gives way to the one before, with a warning that names what is damaged. A checkpoint or data set is
refused with an error of ours that names the file. Nothing else may come of it: no other content, no error of a library.
"""

import hashlib
import random
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import train
from configs.errors import LigareError
from configs.files import read_json
from data.shards import ShardReader
from models.persistence import from_pretrained
from soaks.items import make_sets
from soaks.kill import RUN, SIZES, TASKS
from soaks.registry import Options, Result, Tell
from trainers.training_state import find_restart

COUNT = 400  # damages of each file
UNREAD = {".lock", "README.md"}  # of no consequence, or meant to be edited


@dataclass(frozen=True)
class Target:
    """A folder whose files are damaged, and what it holds according to its reader.

    Attributes:
        files: those to damage. read: the content, as anything that can be compared.
        before: what reading may fall back to.
    """

    name: str
    files: tuple[Path, ...]
    read: Callable[[], Any]
    before: Any = None


def run(options: Options, tell: Tell) -> Result:
    """So many damages of each file as asked for."""
    draw, result = random.Random(options.seed), Result()
    kinds: Counter[str] = Counter()
    targets = make_targets(options.folder)
    count = options.count or COUNT
    files = [(target, path) for target in targets for path in target.files]
    for number, (target, path) in enumerate(files):
        whole = target.read()
        for what, content in damages(path.read_bytes(), count, draw):
            kind, wrong = trial(target, path, content, whole)
            kinds[f"{what}: {kind}"] += 1
            kinds["damages"] += 1
            result.wrong += [f"{target.name}, {path.name}, {what}: {wrong}"] if wrong else []
        tell(number + 1, len(files), f"{kinds['damages']} damages")
    result.figures = {"files damaged": len(files), "damages made": kinds.pop("damages"), **dict(sorted(kinds.items()))}
    return result


def damages(content: bytes, count: int, draw: random.Random) -> Iterator[tuple[str, bytes]]:
    """`count` damaged forms of a file: a third cut short, the rest with one bit, byte or run of bytes changed."""
    size = len(content)
    lengths = dict.fromkeys((0, 1, size // 2, size - 1, 8, size - 8, 4096, size - 4096))
    lengths |= dict.fromkeys(draw.randrange(size) for _ in range(count))
    cuts = [length for length in lengths if 0 <= length < size][: max(count // 3, 4)]
    yield from (("cut short", content[:length]) for length in cuts)
    places = dict.fromkeys((0, 1, 7, 8, size // 2, size - 1))
    places |= dict.fromkeys(draw.randrange(size) for _ in range(count))
    for number, place in enumerate([place for place in places if 0 <= place < size][: count - len(cuts)]):
        if number % 4 == 3:
            length = draw.choice((4, 64, 512))
            changed = content[:place] + bytes(length) + content[place + length :]
            if changed != content:
                yield "bytes zeroed", changed[:size]
        else:
            byte = content[place] ^ (1 << draw.randrange(8)) if number % 4 else draw.choice([*range(256)])
            if byte != content[place]:
                yield "a byte changed", content[:place] + bytes([byte]) + content[place + 1 :]


def trial(target: Target, path: Path, content: bytes, whole: Any) -> tuple[str, str]:
    """Damage a file, read, and put it back: what came of it, and what was wrong about that ("": nothing)."""
    kept = path.read_bytes()
    path.write_bytes(content)
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found = target.read()
    except LigareError as error:
        return "refused", "" if path.parent.name in str(error) else f"the error names no file: {error}"
    except Exception as error:
        return "failed", f"{type(error).__name__}: {error}"
    finally:
        path.write_bytes(kept)
    if found == whole:
        return "made no difference", ""
    said = " ".join(str(one.message) for one in told)
    if target.before is not None and found == target.before:
        return "fell back", "" if path.parent.name in said else f"fell back without naming the file: {said}"
    return "read", "other content was read"


def make_targets(folder: Path) -> list[Target]:
    """A run of training, its checkpoint, and its data."""
    data, valid = make_sets(folder / "data")
    words = f"--train_set {data} --valid_set {valid} --save_dir {folder / 'runs'} {SIZES} {RUN} {TASKS['regression']}"
    if train.main([*words.split(), "--max_epoch", "2", "--num_workers", "0", "--no_use_tensorboard"]):
        raise RuntimeError("training for the soak of files failed")
    run_folder = folder / "runs" / "version_0"
    newest, older = sorted((run_folder / "training_state").iterdir(), key=lambda path: path.stat().st_mtime)[::-1]
    best = (run_folder / "checkpoint" / "best").resolve()
    shutil.copytree(older, folder / "older" / "version_0" / "training_state" / older.name)
    config = run_folder / "train_config.json"
    return [
        Target("training state", files_of(newest), lambda: state_of(folder / "runs"), state_of(folder / "older")),
        Target("checkpoint", files_of(best), lambda: model_of(best)),
        Target("options of a run", (config,), lambda: read_json(config)),
        Target("data set", files_of(data), lambda: items_of(data)),
    ]


def files_of(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(path for path in folder.iterdir() if path.is_file() and path.name not in UNREAD))


def state_of(save_dir: Path) -> Any:
    """The state that --restart auto takes."""
    found = find_restart(save_dir)
    return None if found is None else (repr(found.values), tensors_of(found.tensors))


def model_of(folder: Path) -> Any:
    """Options, weights and facts of a checkpoint."""
    model = from_pretrained(folder)
    return repr(model.config_dict()), repr(model.facts), tensors_of(model.state_dict())


def items_of(folder: Path) -> Any:
    """Everything that a data set tells."""
    reader = ShardReader(folder)
    items = [{name: _plain(value) for name, value in vars(item).items()} for item in reader]
    counts = {name: values.tolist() for name, values in reader.counts.items()}
    return repr((reader.manifest, reader.ids, reader.groups, counts, items))


def tensors_of(tensors: Mapping[str, torch.Tensor]) -> str:
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(name.encode() + str(tensor.dtype).encode() + tensor.contiguous().numpy().tobytes())
    return total.hexdigest()


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value
