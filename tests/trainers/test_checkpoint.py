"""Which checkpoints stay, and what is in their folder."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from stand_ins import TinyTrainer, make_trainer

from configs.errors import CheckpointError
from trainers.folders import complete_folder, remove_leftovers, verify_manifest, write_manifest


class Scripted(TinyTrainer):
    script: tuple[float, ...] = (3.0, 5.0, 1.0, float("nan"), 2.0, 4.0)

    def metrics(self, predictions: dict[str, Any], means: dict[str, float]) -> dict[str, float]:
        return {"loss": self.script[self.epoch]}


def names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "checkpoint").glob("epoch*")}


def best(folder: Path) -> str:
    return (folder / "checkpoint" / "best").resolve().name


def test_topk_3_of_6(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, kind=Scripted, max_epoch=6, save_topk=3)
    trainer.train(gpus=[-1])
    assert names(trainer.save_dir) == {"epoch0_step6", "epoch2_step18", "epoch4_step30"}
    assert best(trainer.save_dir) == "epoch2_step18"
    listed = json.loads((trainer.save_dir / "checkpoint" / "topk.json").read_text())
    assert [entry["metric"] for entry in listed["checkpoints"]] == [1.0, 2.0, 3.0] and listed["best"] == "epoch2_step18"


def test_larger_may_be_better(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, kind=Scripted, max_epoch=6, save_topk=2, metric_min_better=False)
    trainer.train(gpus=[-1])
    assert names(trainer.save_dir) == {"epoch1_step12", "epoch5_step36"} and best(trainer.save_dir) == "epoch1_step12"


def test_minus_one_keeps_each_improvement(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, kind=Scripted, max_epoch=6, save_topk=-1)
    trainer.train(gpus=[-1])
    assert names(trainer.save_dir) == {"epoch0_step6", "epoch2_step18"}


def test_first_epoch_counts(tmp_path: Path) -> None:
    class Worse(Scripted):
        script: tuple[float, ...] = (1.0, 2.0, 3.0)

    trainer = make_trainer(tmp_path, kind=Worse, max_epoch=3, save_topk=1)
    trainer.train(gpus=[-1])
    assert trainer.best_epoch == 0 and names(trainer.save_dir) == {"epoch0_step6"}


def test_nan_is_never_the_best(tmp_path: Path) -> None:
    class StartsBad(Scripted):
        script: tuple[float, ...] = (float("nan"), 2.0, float("nan"))

    trainer = make_trainer(tmp_path, kind=StartsBad, max_epoch=3, save_topk=2)
    trainer.train(gpus=[-1])
    assert trainer.best_epoch == 1 and best(trainer.save_dir) == "epoch1_step12"


def test_a_metric_that_is_never_defined_leaves_weights(tmp_path: Path) -> None:
    class Undefined(Scripted):
        script: tuple[float, ...] = (float("nan"), float("nan"))

    trainer = make_trainer(tmp_path, kind=Undefined, max_epoch=2, save_topk=-1)
    trainer.train(gpus=[-1])
    assert trainer.best_epoch is None and names(trainer.save_dir) == {"epoch0_step6"}
    assert best(trainer.save_dir) == "epoch0_step6"


def test_an_improvement_on_what_was_not_defined_is_the_best(tmp_path: Path) -> None:
    class StartsBad(Scripted):
        script: tuple[float, ...] = (float("nan"), 2.0, 3.0)

    trainer = make_trainer(tmp_path, kind=StartsBad, max_epoch=3, save_topk=-1)
    trainer.train(gpus=[-1])
    assert names(trainer.save_dir) == {"epoch0_step6", "epoch1_step12"} and best(trainer.save_dir) == "epoch1_step12"


def test_checkpoint_holds_the_weights(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, max_epoch=1)
    trainer.train(gpus=[-1])
    folder = trainer.save_dir / "checkpoint" / "best"
    saved = load_file(folder / "model.safetensors")
    assert all((saved[name] == tensor).all() for name, tensor in trainer.model.state_dict().items())
    assert (folder / "config.json").is_file()


def test_checkpoint_has_a_card_of_its_run(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, kind=Scripted, max_epoch=1)
    trainer.train(gpus=[-1])
    card = (trainer.save_dir / "checkpoint" / "best" / "README.md").read_text()
    command = json.loads((trainer.save_dir / "train_config.json").read_text())["command"]
    assert "# TinyModel" in card and " ".join(command) in card and "| epoch | 0 |" in card
    assert f"| loss | {trainer.history[0]['train']['loss']:.5g} | 3 |" in card


def test_a_failed_write_leaves_the_old_folder(tmp_path: Path) -> None:
    def write(text: str, fail: bool) -> None:
        with complete_folder(tmp_path / "state") as folder:
            (folder / "a.txt").write_text(text)
            write_manifest(folder)
            if fail:
                raise OSError("disk full")

    write("old", fail=False)
    with pytest.raises(OSError, match="disk full"):
        write("new", fail=True)
    assert (tmp_path / "state" / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_manifest_tells_damage(tmp_path: Path) -> None:
    with complete_folder(tmp_path / "state") as folder:
        (folder / "a.txt").write_text("content")
        write_manifest(folder)
    verify_manifest(tmp_path / "state")
    (tmp_path / "state" / "a.txt").write_text("contenT")
    with pytest.raises(CheckpointError, match=r"a\.txt: does not match its checksum"):
        verify_manifest(tmp_path / "state")
    (tmp_path / "state" / "a.txt").unlink()
    with pytest.raises(CheckpointError, match=r"a\.txt: is missing"):
        verify_manifest(tmp_path / "state")


def test_leftovers_of_a_kill_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".writing-folder").mkdir()
    (tmp_path / ".writing-best").symlink_to("nowhere")
    (tmp_path / "kept").mkdir()
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
