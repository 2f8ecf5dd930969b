"""The README tells the truth: its commands exist and take its options, its examples run."""

import importlib
import re
import shlex
from pathlib import Path

import gemmi
import pytest
import torch

import configs.schema
import models
import train
import trainers
from configs.schema import from_flat
from data.shards import write_part
from data.synthetic import make_items
from data.vocab import load_vocabulary
from scripts import make_synthetic
from scripts.main import COMMANDS, main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALL = "--atom_hidden_size 8 --block_hidden_size 8 --edge_size 4 --k_neighbors 3 --n_layers 1".split()
SHORT = [*SMALL, *"--max_epoch 1 --max_steps 1 --gpus -1 --num_workers 0 --no_progress --no_use_tensorboard".split()]


def section(title: str) -> str:
    return README.split(f"## {title}\n")[1].split("\n## ")[0]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def command_lines() -> list[list[str]]:
    """Every shell command of the README and the other documents as words."""
    texts = [README, *(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))]
    lines = "\n".join(block for text in texts for block in blocks(text, "bash")).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def script_calls() -> list[tuple[str, list[str]]]:
    """(file, arguments) of every Python program that the README calls."""
    calls = []
    for words in command_lines():
        for i, word in enumerate(words):
            if word.endswith(".py"):
                calls.append((word, words[i + 1 :]))
                break
    return calls


def test_scripts_exist_and_take_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    calls = script_calls()
    assert len(calls) >= 6
    for file, arguments in calls:
        assert (ROOT / file).is_file(), file
        flags = {word for word in arguments if word.startswith("--")}
        with pytest.raises(SystemExit):
            importlib.import_module(file.removesuffix(".py").replace("/", ".")).main(["--help"])
        assert flags <= set(re.findall(r"--\w+", capsys.readouterr().out)), file


def test_console_commands_make_targets_files_and_links_exist() -> None:
    commands = {words[1] for words in command_lines() if words[0] == "ligare"} - {"--help", "--version"}
    commands |= set(re.findall(r"`ligare ([a-z][a-z-]+)", README))
    assert {"process", "split", "train"} <= commands <= set(COMMANDS)
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {words[1] for words in command_lines() if words[0] == "make"} <= targets
    links = re.findall(r"\]\(([\w/.]+)\)", README)
    named = set(re.findall(r"(?:scripts|configs)/\w+\.(?:sh|slurm|yaml)", README)) - {"configs/size.yaml"}
    assert not [path for path in (*links, *named) if not (ROOT / path).is_file()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the structures, shards and run that the README speaks of."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("readme")
    (folder / "configs").symlink_to(ROOT / "configs")
    made = ["--out_path", str(folder / "made"), "-n", "24", "--n_jobs", "1", "--write_structures"]
    assert make_synthetic.main(made) == 0
    (folder / "made" / "structures").rename(folder / "my_structures")
    (folder / "my_structures" / "index.csv").unlink()
    (folder / "checkpoints").symlink_to(ROOT / "checkpoints")
    pair = next(
        path for path in sorted((folder / "my_structures").iterdir()) if len(gemmi.read_structure(str(path))[0]) == 2
    )
    gemmi.read_structure(str(pair)).make_mmcif_document().write_file(str(folder / "1abc.cif"))
    return folder


def test_own_structures_in_three_commands_and_an_embedding(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = section("Your own structures in three commands")
    monkeypatch.chdir(folder)
    names = {entry.module.rpartition(".")[2]: name for name, entry in COMMANDS.items()}
    first = blocks(text, "bash")[0].splitlines()
    commands = [shlex.split(line, comments=True)[1:] for line in first if line.startswith("python")]
    assert len(commands) == 3
    for file, *arguments in commands:
        name = names[Path(file).stem]
        assert main([name, *arguments, *(SHORT if name == "train" else [])]) == 0
    assert (folder / "embeddings.parquet").is_file()


def test_a_structure_is_embedded_and_explained(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = section("Use a model: embed, predict, explain, search")
    monkeypatch.chdir(folder)
    for words in (
        shlex.split(line, comments=True) for line in blocks(text, "bash")[0].replace("\\\n", " ").splitlines()
    ):
        if "fold0" not in words:  # models of the reader's own
            assert main([*words[1:], "--device", "cpu"]) == 0
    assert (folder / "scores.csv").is_file() and list((folder / "pages").glob("*.html"))
    found: dict = {}
    exec(blocks(text, "python")[0], found)
    assert len(found["frame"]) == 1


def test_the_example_of_a_new_task_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    text = section("Add a task")
    model_code, trainer_code = blocks(text, "python")
    assert len((model_code + trainer_code).splitlines()) <= 40
    (tmp_path / "size_model.py").write_text(model_code)
    (tmp_path / "size_trainer.py").write_text(trainer_code)
    monkeypatch.syspath_prepend(tmp_path)
    model_module, trainer_module = importlib.import_module("size_model"), importlib.import_module("size_trainer")
    monkeypatch.setattr(configs.schema, "TASKS", (*configs.schema.TASKS, "size"))
    monkeypatch.setitem(models.MODELS, "SizePredictor", model_module.SizePredictor)
    monkeypatch.setitem(models.TASK_MODELS, "size", model_module.size_model)
    monkeypatch.setitem(trainers.TRAINERS, model_module.SizePredictor, trainer_module.SizeTrainer)

    vocabulary = load_vocabulary()
    for name, items in (("train", make_items(6)), ("valid", make_items(3, seed=1))):
        write_part(tmp_path / name, items, vocabulary.fingerprint, vocabulary=vocabulary.name)
    sets = ["--train_set", str(tmp_path / "train"), "--valid_set", str(tmp_path / "valid"), "--batch_size", "3"]
    more = ["--task", "size", "--fragmentation_method", "PS_300", "--save_dir", str(tmp_path / "runs")]
    assert train.main([*sets, *more, *SHORT]) == 0
    model = models.from_pretrained(tmp_path / "runs" / "version_0" / "checkpoint" / "best")
    assert type(model) is model_module.SizePredictor
    assert model.config.head_size == 32


def test_tasks_have_models_and_models_have_trainers() -> None:
    assert set(models.TASK_MODELS) == set(configs.schema.TASKS)
    vocabulary = load_vocabulary(None)
    for task in configs.schema.TASKS:
        sizes = {"atom_hidden_size": 8, "block_hidden_size": 8, "edge_size": 4, "n_layers": 1, "task": task}
        noise = {"torsion_noise": 0.5, "translation_noise": 1.0, "mask_proportion": 0.1}
        run = from_flat(sizes | noise | {"num_classifier_classes": 3, "targets": "left,right"})
        assert type(models.create_model(run, vocabulary)) in trainers.TRAINERS
