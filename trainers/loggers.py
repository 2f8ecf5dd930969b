"""Reports to TensorBoard, Weights & Biases and Ray Tune. A missing package costs the report, not the run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from configs.command import in_words
from configs.files import atomic_write
from trainers.callbacks import Callback
from trainers.distributed import is_main, say

if TYPE_CHECKING:
    from trainers.abs_trainer import Trainer


def optional_module(name: str, package: str, option: str) -> ModuleType | None:
    """Import a package that may be missing; say what to install when it is."""
    try:
        return import_module(name)
    except ImportError:
        say(f"{option}: {package} is not installed, going on without it (pip install {package})")
        return None


def named_scalars(record: dict[str, Any]) -> dict[str, float]:
    """Flat names of a history record: `train/torsion_loss`, `valid/loss`, `lr`, ..."""
    names = ("lr", "gradient_norm", "skipped_steps", "split_steps")
    out: dict[str, float] = {name: record[name] for name in names if name in record}
    for part in ("train", "valid"):
        suffix = "_step" if record.get("event") == "step" else ""
        out |= {f"{part}{suffix}/{name}": value for name, value in record.get(part, {}).items()}
    return out


class TensorBoardLogger(Callback):
    """Events in the run folder, each point once.

    A continued run tells what its history has since the last whole epoch anew, and that takes the place of the old
    events: neither those that a kill kept from the disk nor those of steps that are made again leave a trace.
    """

    def __init__(self) -> None:
        self.writer: Any = None
        self.newest: dict[str, int] = {}  # step of each curve's last point

    def on_train_start(self, trainer: "Trainer") -> None:
        if not is_main():
            return
        module = optional_module("torch.utils.tensorboard", "tensorboard", "--use_tensorboard")
        if module is None:
            return
        goes_on = trainer.resume_state is not None and not trainer.resume_state.further
        start = trainer.history[-1]["step"] if trainer.history else 0
        with self.forgiving():
            self.writer = module.SummaryWriter(str(trainer.save_dir), purge_step=start if goes_on else None)
        for record in trainer.logs["history"].records() if goes_on else ():
            if record["step"] >= start:
                self._write(record)

    def on_log(self, trainer: "Trainer", record: dict[str, Any]) -> None:
        self._write(record)

    def on_epoch_end(self, trainer: "Trainer") -> None:
        self._write(trainer.history[-1])
        if self.writer is not None:
            with self.forgiving():
                self.writer.flush()

    def on_train_end(self, trainer: "Trainer") -> None:
        if self.writer is not None:
            with self.forgiving():
                self.writer.close()

    def _write(self, record: dict[str, Any]) -> None:
        for name, value in named_scalars(record).items():
            if self.writer is not None and self.newest.get(name, -1) < record["step"]:
                self.newest[name] = record["step"]
                with self.forgiving():
                    self.writer.add_scalar(name, value, record["step"])

    @contextmanager
    def forgiving(self) -> Iterator[None]:
        """Curves are not worth a run: when they can't be written, say so and leave them."""
        try:
            yield
        except OSError as error:
            say(f"--use_tensorboard: {in_words(error)}; no more curves until the run is started again")
            self.writer = None


class WandbLogger(Callback):
    """A Weights & Biases run (WANDB_MODE=offline works); a resumed run goes on under the same id."""

    def __init__(self) -> None:
        self.run: Any = None
        self.faults: tuple[type[Exception], ...] = ()

    def on_train_start(self, trainer: "Trainer") -> None:
        if not is_main():
            return
        wandb = optional_module("wandb", "wandb", "--use_wandb")
        if wandb is None:
            return
        config, remembered = trainer.config, trainer.save_dir / "wandb_id.txt"
        self.faults = (OSError, RuntimeError, wandb.Error, *_of_mailbox())
        try:
            self.run = wandb.init(
                project=config.wandb_project,
                entity=config.wandb_entity,
                name=config.run_name,
                dir=str(trainer.save_dir),
                config=config.to_dict(),
                id=remembered.read_text().strip() if remembered.exists() else None,
                resume="allow",
            )
            atomic_write(remembered, self.run.id)
        except self.faults as error:  # also a full disk
            say(f"--use_wandb: {error}; going on without it (WANDB_MODE=offline needs no account)")
            self.run = None

    def on_log(self, trainer: "Trainer", record: dict[str, Any]) -> None:
        self._write(record)

    def on_epoch_end(self, trainer: "Trainer") -> None:
        self._write(trainer.history[-1])

    def on_train_end(self, trainer: "Trainer") -> None:
        self._tell(lambda run: run.finish())

    def _write(self, record: dict[str, Any]) -> None:
        self._tell(lambda run: run.log(named_scalars(record), step=record["step"]))

    def _tell(self, what: Callable[[Any], None]) -> None:
        """Let wandb's own process have something; where that was killed, training goes on without it."""
        if self.run is None:
            return
        try:
            what(self.run)
        except self.faults as error:
            say(f"--use_wandb: {' '.join(str(error).split()) or type(error).__name__}; going on without it")
            self.run = None


def _of_mailbox() -> list[type[Exception]]:
    """What wandb raises, beside its own kind of errors, when its process does not answer."""
    with suppress(ImportError):  # versions differ in where these are
        mailbox = import_module("wandb.sdk.mailbox")
        return [vars(mailbox)[name] for name in ("MailboxClosedError", "HandleAbandonedError") if name in vars(mailbox)]
    return []


class RayTuneReporter(Callback):
    """Reports the validation metrics of every epoch to the Ray Tune trial that this process is."""

    def __init__(self) -> None:
        self.tune: Any = None

    def on_train_start(self, trainer: "Trainer") -> None:
        self.tune = optional_module("ray.tune", "ray[tune]", "--use_raytune") if is_main() else None

    def on_epoch_end(self, trainer: "Trainer") -> None:
        record = trainer.history[-1]
        if self.tune is not None and "valid" in record:
            self.tune.report({**record["valid"], "epoch": record["epoch"], "step": record["step"]})
