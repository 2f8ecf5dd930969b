"""kill -9 at random and at hard moments, again and again; every finished run must equal the uninterrupted one.

A round starts the same command with --restart auto until the run is finished, killing it on the way, and compares the
outcome. Rounds go on until there were enough kills. On Linux; processes are found by a mark in their environment.
"""

import os
import random
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from soaks.items import make_sets
from soaks.marked import MARK, Marked, kill, kill_marked, marked, wait_for, wait_until_gone
from soaks.outcome import differences, seen
from soaks.registry import Options, Result, Tell

ROOT = Path(__file__).resolve().parent.parent
SIZES = """--atom_hidden_size 16 --block_hidden_size 16 --edge_size 8 --k_neighbors 3 --n_layers 1 --dropout 0.1
--fragmentation_method PS_300"""
RUN = """--gpus -1 --no_progress --use_tensorboard --log_every 2 --save_every_steps 3 --save_topk 2 --max_epoch 8
--ema_decay 0.9 --lr_schedule cosine --final_lr 1e-4 --grad_clip 1 --num_workers 1 --shuffle --batch_size 4"""
TASKS = {
    "pretrain": """--translation_noise 1 --rotation_noise 0.25 --torsion_noise 0.5 --mask_proportion 0.2
    --rot_weight 0.1""",
    "regression": "--task regression --bootstrap 20",
}
KILLS = 50
PATIENCE = 400  # seconds that a run may take to end, and its processes to go
MOMENTS = {
    "weights of a checkpoint written, topk.json not": "1 os.rename .*/checkpoint/topk.json",
    "topk.json written, the link `best` not": "1 os.rename .*/checkpoint/best",
    "a checkpoint that is no longer among the best half deleted": "2 os.(remove|rmdir) ",
    "a checkpoint half written": "3 open .*/checkpoint/",
    "history written, state not": "1 os.mkdir .*/training_state/.writing",
    "a state half written": "2 open .*/training_state/",
    "a state written, but not renamed": "2 os.rename .*/training_state/epoch",
    "old states about to be deleted": "1 os.rename .*/training_state/.writing",
    "an old state half deleted": "4 os.(remove|rmdir) ",
    "the run folder just made": "1 os.rename .*/train_config.json",
    "the first state half written": "1 os.rename .*/training_state/",
    "training_history.json written, but not renamed": "2 os.rename .*/training_history.json",
    "the final report half written": "1 (os.rename .*/predictions_valid.csv|os.rename .*/final_report.json)",
}


@dataclass
class Trial:
    """One way of running: its options and what came of it.

    Attributes:
        whole: save_dir of the uninterrupted run. seconds: that run took. ready: seconds until it had a state.
        items: of each batch of it.
    """

    task: str
    ranks: int
    folder: Path
    options: list[str]
    whole: Path
    seconds: float = 0.0
    ready: float = 0.0
    items: dict[Any, list[str]] = field(default_factory=dict)


@dataclass
class Figures:
    """What a soak counts."""

    kills: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    rounds: int = 0
    same: int = 0
    batches: int = 0
    slowest_end: float = 0.0
    wrong: list[str] = field(default_factory=list)


class Run:
    """The command once started: the launcher, its ranks, their loader processes."""

    def __init__(self, trial: Trial, save_dir: Path, mark: str, kill_at: str = "") -> None:
        launcher = ["-m", "trainers.launch", "--nproc_per_node", str(trial.ranks), "--rdzv_backend", "c10d"]
        launcher += ["--rdzv_endpoint", "localhost:0"]
        command = [sys.executable, *(launcher if trial.ranks > 1 else []), "-m", "soaks.hooked_train"]
        command += [*trial.options, "--save_dir", str(save_dir), "--restart", "auto"]
        notes = save_dir.with_name(f"{save_dir.name}-notes")
        notes.mkdir(parents=True, exist_ok=True)
        self.mark, self.log = mark, save_dir.with_name(f"{save_dir.name}.log")
        env = os.environ | {MARK: mark, "LIGARE_SOAK_NOTES": str(notes), "OMP_NUM_THREADS": "1"}
        env |= {"PYTHONPATH": str(ROOT), "LIGARE_SOAK_KILL": kill_at}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True)

    def ranks(self) -> list[Marked]:
        """The processes that train."""
        if "-m trainers.launch" not in " ".join(map(str, self.process.args)):  # type: ignore[arg-type]
            return [Marked(self.process.pid, os.getpid())]
        return [one for one in marked(self.mark) if one.parent == self.process.pid]

    def workers(self) -> list[Marked]:
        """Their loader processes, and whatever else they started."""
        ranks = {one.number for one in self.ranks()}
        return [one for one in marked(self.mark) if one.number not in ranks | {self.process.pid}]

    def wait(self, seconds: float) -> int | None:
        """The exit status; None when it still runs."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def last_words(self) -> str:
        """The end of the log."""
        return self.log.read_text(errors="replace")[-1500:]


def run(options: Options, tell: Tell) -> Result:
    """As many kills as asked for (50) on each number of ranks."""
    wanted, result = options.count or KILLS, Result()
    for number, ranks in enumerate(options.ranks):
        figures = Figures()
        for figures in soak(wanted, ranks, options.folder / f"ranks-{ranks}", options.seed):
            done = figures.kills.total()
            tell(number * wanted + done, wanted * len(options.ranks), f"{ranks} ranks, {figures.rounds} runs finished")
        result.figures |= told(figures, "1 rank" if ranks == 1 else f"{ranks} ranks")
        result.wrong += figures.wrong
    return result


def told(figures: Figures, where: str) -> dict[str, Any]:
    """Figures under names that read well."""
    return {
        f"kills survived, {where}": figures.kills.total(),
        f"starts of the command, {where}": figures.starts,
        f"runs finished, {where}": figures.rounds,
        f"of them equal to the uninterrupted one, {where}": figures.same,
        f"batches with the same items in the same order, {where}": figures.batches,
        f"longest that a process outlived its run, seconds, {where}": round(figures.slowest_end, 1),
    } | {f"kills, {where}: {kind}": count for kind, count in sorted(figures.kills.items())}


def soak(kills: int, ranks: int, folder: Path, seed: int = 0, tasks: Sequence[str] = tuple(TASKS)) -> Iterator[Figures]:
    """Kill and compare; yields the figures after each kill and each round.

    Args:
        kills: how many at least. ranks: processes that train together. folder: gets all runs, about 10 MB.
    """
    draw, figures = random.Random(seed), Figures()
    mark = uuid.uuid4().hex
    try:
        trials = [uninterrupted(task, ranks, folder / f"{task}-{ranks}", mark) for task in tasks]
        planned = plan(kills, ranks, draw)
        while planned or figures.rounds < len(trials):
            yield from one_round(trials[figures.rounds % len(trials)], planned, figures, mark, draw)
    finally:
        kill_marked(mark)


def plan(kills: int, ranks: int, draw: random.Random) -> list[str]:
    """The kinds of kills in random order: hard moments as often as random ones; some of single processes."""
    moments = [*MOMENTS, *["any operation on files"] * (len(MOMENTS) // 2)]
    others = ["random time"] * 14 + ["a loader process"] + (["one rank", "the launcher"] * 2 if ranks > 1 else [])
    pool: list[str] = []
    while len(pool) < kills:
        pool += moments + others
    draw.shuffle(pool)
    return pool[:kills]


def uninterrupted(task: str, ranks: int, folder: Path, mark: str) -> Trial:
    """The run that nobody kills."""
    train, valid = make_sets(folder / "data")
    options = f"--train_set {train} --valid_set {valid} {SIZES} {RUN} {TASKS[task]}".split()
    trial = Trial(task, ranks, folder, options, folder / "whole")
    start = time.monotonic()
    run = Run(trial, trial.whole, mark)
    wait_for(lambda: any(trial.whole.glob("version_0/training_state/epoch*")) or run.wait(0) is not None, PATIENCE)
    trial.ready = time.monotonic() - start
    if run.wait(PATIENCE) != 0:
        raise RuntimeError(f"the uninterrupted run failed:\n{run.last_words()}")
    trial.seconds = time.monotonic() - start
    trial.items, wrong = seen(folder / "whole-notes")
    assert not wrong
    return trial


def one_round(trial: Trial, planned: list[str], figures: Figures, mark: str, draw: random.Random) -> Iterator[Figures]:
    """Start until the run is finished, killing it as planned on the way; then compare."""
    save_dir = trial.folder / f"killed-{figures.rounds}"
    most = draw.randint(4, 10)  # kills of one run, so that each soak has several outcomes
    while True:
        kind = planned.pop() if planned and most > 0 else ""
        status = once(trial, save_dir, kind, figures, mark, draw)
        figures.starts += 1
        if status == 0:
            planned += [kind] if kind else []
            draw.shuffle(planned)
            break
        if not kind:
            run_log = save_dir.with_name(f"{save_dir.name}.log").read_text(errors="replace")[-1500:]
            raise RuntimeError(f"a run that nobody killed ended with status {status}:\n{run_log}")
        most -= 1
        figures.kills[kind] += 1
        yield figures
    figures.rounds += 1
    wrong = differences(trial.whole, save_dir)
    items, contradictions = seen(save_dir.with_name(f"{save_dir.name}-notes"))
    wrong += contradictions
    wrong += ["the batches are not those of the uninterrupted run"] if items != trial.items else []
    figures.batches += len(items)
    figures.same += not wrong
    figures.wrong += [f"{save_dir}: {one}" for one in wrong]
    yield figures


def once(trial: Trial, save_dir: Path, kind: str, figures: Figures, mark: str, draw: random.Random) -> int | None:
    """Start the run and kill it in one way; the exit status, which is 0 when it finished before."""
    kill_at = MOMENTS.get(kind, "")
    if kind == "any operation on files":
        kill_at = f"{draw.randint(1, 150)} ."
    run = Run(trial, save_dir, mark, kill_at)
    if not kind or kill_at:
        status = run.wait(PATIENCE)
    else:
        status = run.wait(draw.uniform(0.5 * trial.ready, 0.5 * trial.ready + 0.6 * trial.seconds))
    if status == 0:
        return 0
    single = {"a loader process": run.workers, "one rank": run.ranks}.get(kind)
    if status is None and single is not None and (found := single()):
        kill(draw.choice(found).number)
    elif status is None and kind == "the launcher":
        kill(run.process.pid)
        if draw.random() < 0.5:  # the next start comes while the ranks still run
            run.wait(PATIENCE)
            return -9
    elif status is None:
        kill_marked(mark)
    status = run.wait(PATIENCE)
    gone = wait_until_gone(mark, PATIENCE)
    if status is None or gone is None:
        figures.wrong.append(f"{save_dir}: after the kill ({kind}) processes ran on: {run.last_words()}")
        kill_marked(mark)
    figures.slowest_end = max(figures.slowest_end, gone or 0.0)
    return run.wait(PATIENCE)
