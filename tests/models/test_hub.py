"""Models are saved with a card, pushed to a hub and fetched from it; what is wrong or hostile there is refused."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from complexes import SMALL, small_config, some_complexes
from fake_hub import FakeHub, running_hub
from huggingface_hub import ModelCard

from configs.errors import CheckpointError
from models import MODELS, DenoisePretrainModel, PredictionModel, create_model, from_pretrained, load_published
from models.hub import is_hub_id
from models.persistence import read_weights

ROOT = Path(__file__).parent.parent.parent
FACTS = {
    "license": "cc-by-4.0",
    "epoch": 3,
    "metrics": {"train": {"loss": 1.5}, "valid": {"loss": 1.25, "masked_accuracy": 0.5}},
    "training": {
        "command": ["train.py", "--train_set", "shards/train"],
        "options": {"task": "pretrain_torsion_masking"},
        "data": {"shards/train": "abcdef"},
        "commit": "1234567",
    },
}


@pytest.fixture
def model() -> DenoisePretrainModel:
    torch.manual_seed(0)
    return DenoisePretrainModel(small_config()).eval()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub, and this process as its user, with a token and an empty cache."""
    with running_hub() as running:
        constants = huggingface_hub.constants
        monkeypatch.setattr(constants, "ENDPOINT", running.endpoint)
        template = running.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", "hf_of_no_meaning")
        yield running


def same_numbers(one: DenoisePretrainModel, other: PredictionModel) -> bool:
    batch = some_complexes(1)[0]
    return torch.equal(one.infer(batch).graph_repr, other.infer(batch).graph_repr)


def test_pushed_and_fetched_by_another_process(model: DenoisePretrainModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "local", facts=FACTS)
    program = (
        "import sys, torch; from models import DenoisePretrainModel\n"
        "local = DenoisePretrainModel.from_pretrained(sys.argv[1])\n"
        "print(local.push_to_hub('owner/model', private=True))\n"
        "again = DenoisePretrainModel.from_pretrained('owner/model')\n"
        "old, new = local.state_dict(), again.state_dict()\n"
        "print(old.keys() == new.keys() and all(torch.equal(old[n], new[n]) for n in old), again.facts['license'])\n"
    )
    with running_hub() as running:
        setting = {"HF_ENDPOINT": running.endpoint, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_of_no_meaning"}
        setting |= {"HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "local")],
            cwd=ROOT,
            env=os.environ | setting,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        address, verdict = done.stdout.split("\n")[:2]
        assert address.startswith(f"{running.endpoint}/owner/model/commit/")
        assert verdict == "True cc-by-4.0"
        files = running.commits["owner/model"][-1]
    assert set(files) == {"README.md", "config.json", "manifest.json", "model.safetensors"}
    for name in ("README.md", "config.json"):
        assert files[name] == (tmp_path / "local" / name).read_bytes()


def test_any_type_comes_from_the_hub(hub: FakeHub, model: DenoisePretrainModel) -> None:
    model.push_to_hub("owner/model", facts=FACTS)
    fetched = from_pretrained("owner/model")
    assert type(fetched) is DenoisePretrainModel and not fetched.training
    assert same_numbers(model, fetched)
    assert fetched.facts == FACTS
    assert same_numbers(model, PredictionModel.from_pretrained("owner/model"))  # a pretraining model is one


def test_a_fetched_model_needs_no_hub_again(hub: FakeHub, model: DenoisePretrainModel) -> None:
    model.push_to_hub("owner/model")
    from_pretrained("owner/model")
    hub.requests.clear()
    assert same_numbers(model, from_pretrained("owner/model", local_files_only=True))
    assert hub.requests == []


def test_an_older_revision_can_be_named(hub: FakeHub, model: DenoisePretrainModel) -> None:
    first = model.push_to_hub("owner/model").rsplit("/", 1)[1]
    old = torch.clone(model.edge_embedding_top.weight)
    with torch.no_grad():
        model.edge_embedding_top.weight += 1
    model.push_to_hub("owner/model")
    assert torch.equal(from_pretrained("owner/model", revision=first).edge_embedding_top.weight, old)
    assert torch.equal(from_pretrained("owner/model").edge_embedding_top.weight, model.edge_embedding_top.weight)


def test_only_the_files_of_a_model_are_fetched(hub: FakeHub, model: DenoisePretrainModel) -> None:
    model.push_to_hub("owner/model")
    hub.commits["owner/model"][-1]["pytorch_model.bin"] = b"not asked for"
    hub.commits["owner/model"][-1]["modeling.py"] = b"raise SystemExit"
    from_pretrained("owner/model")
    assert not any("pytorch_model.bin" in line or "modeling.py" in line for line in hub.requests)


def test_a_changed_file_on_the_hub_is_refused(hub: FakeHub, model: DenoisePretrainModel) -> None:
    model.push_to_hub("owner/model")
    files = hub.commits["owner/model"][-1]
    files["model.safetensors"] = files["model.safetensors"][:-1] + b"x"
    with pytest.raises(CheckpointError, match="is damaged: its checksum differs"):
        from_pretrained("owner/model")


def test_a_repository_of_something_else_is_refused(hub: FakeHub) -> None:
    hub.commits["owner/other"] = [{"config.json": b"{}", "pytorch_model.bin": b"x"}]
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        from_pretrained("owner/other")


def test_an_absent_repository_is_named(hub: FakeHub) -> None:
    with pytest.raises(CheckpointError, match=r"owner/absent: the hub refused or can't be reached: RepositoryNotFound"):
        from_pretrained("owner/absent")


def test_an_unreachable_hub_is_said(hub: FakeHub, model: DenoisePretrainModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(CheckpointError, match="the hub refused or can't be reached"):
        from_pretrained("owner/model")
    with pytest.raises(CheckpointError, match="the hub refused or can't be reached"):
        model.push_to_hub("owner/model")


def test_a_folder_wins_over_the_hub(
    hub: FakeHub, model: DenoisePretrainModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.save_pretrained(tmp_path / "owner" / "model")
    monkeypatch.chdir(tmp_path)
    assert same_numbers(model, from_pretrained("owner/model"))
    assert hub.requests == []


@pytest.mark.parametrize(
    ("name", "means_hub"),
    [
        ("owner/model", True),
        ("owner/model-1.b_c", True),
        ("model", False),
        ("./owner/model", False),
        ("../model", False),
        ("/owner/model", False),
        ("~/model", False),
        ("a/b/c", False),
        (Path("owner/model"), False),
    ],
)
def test_what_means_the_hub(name: str | Path, means_hub: bool) -> None:
    assert is_hub_id(name) is means_hub


def test_another_type_is_refused(model: DenoisePretrainModel, tmp_path: Path) -> None:
    create_model("PredictionModel", **SMALL).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="holds a PredictionModel, not a DenoisePretrainModel"):
        DenoisePretrainModel.from_pretrained(tmp_path)


def test_the_card_tells_what_is_known(model: DenoisePretrainModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path, facts=FACTS)
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.to_dict()["license"] == "cc-by-4.0" and card.data.to_dict()["library_name"] == "ligare"
    text = card.text
    assert "# DenoisePretrainModel" in text
    assert "train.py --train_set shards/train" in text
    assert "| shards/train | sha256 abcdef |" in text
    assert "| loss | 1.5 | 1.25 |" in text and "| masked_accuracy |  | 0.5 |" in text
    for title in ("Use", "Data", "Training", "Metrics", "Licence", "Limits"):
        assert f"\n## {title}\n" in text


def test_the_card_says_what_is_not_known(model: DenoisePretrainModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.to_dict()["license"] == "unknown"
    assert card.text.count("Not recorded.") == 3 and "Not stated." in card.text


def test_an_edited_card_stays_and_an_old_one_does_not(model: DenoisePretrainModel, tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    model.save_pretrained(tmp_path, facts={"epoch": 1})
    model.save_pretrained(tmp_path, facts={"epoch": 2})
    assert "| epoch | 2 |" in card.read_text()
    card.write_text(card.read_text() + "\nA word of the owner.\n")
    model.save_pretrained(tmp_path, facts={"epoch": 3})
    assert "| epoch | 2 |" in card.read_text() and "A word of the owner." in card.read_text()
    assert from_pretrained(tmp_path).facts == {"epoch": 3}  # an edited card is no damage


def test_facts_stay_when_a_model_is_saved_again(model: DenoisePretrainModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "first", facts=FACTS)
    from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "second", facts={"license": "mit"})
    assert from_pretrained(tmp_path / "second").facts == FACTS | {"license": "mit"}


@pytest.mark.parametrize(
    ("key", "value"), [("n_layers", "many"), ("n_layers", "4"), ("dropout", []), ("modality_embedding", 3)]
)
def test_a_value_of_the_wrong_type_is_named(
    key: str, value: object, model: DenoisePretrainModel, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {key: value}
    (tmp_path / "other.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=f"{key} must be"):
        load_published(tmp_path / "other.json", tmp_path / "model.safetensors")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("legacy", [False, True])
def test_changed_bytes_are_damage_or_harmless(legacy: bool, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    torch.save({"a": torch.zeros(2, 2), "b": torch.ones(3)}, weights, _use_new_zipfile_serialization=not legacy)
    content, rng, damaged = weights.read_bytes(), random.Random(0), 0
    for _ in range(300):
        changed = bytearray(content)
        changed[rng.randrange(min(len(content), 600))] = rng.randrange(256)
        weights.write_bytes(changed)
        try:
            read_weights(weights)
        except CheckpointError:
            damaged += 1
    assert damaged > 50


@pytest.mark.parametrize("legacy", [False, True])
def test_hostile_weights_are_not_executed(legacy: bool, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple:
            return os.system, (f"touch {tmp_path / 'executed'}",)

    config = ROOT / "tests/fixtures/parity/PredictionModel/config.json"
    weights = tmp_path / "weights.pt"
    torch.save({"weight": Hostile()}, weights, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r"holds more than tensors.*system.*docs/checkpoints\.md"):
        load_published(config, weights)
    assert not (tmp_path / "executed").exists()
    torch.load(weights, weights_only=False)  # the file is what it says: without the guard it runs
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", MODELS)
def test_every_type_goes_to_the_hub_and_back(name: str, hub: FakeHub) -> None:
    sizes: dict[str, Any] = {"ProteinInterfaceModel": {"prot_model": SMALL}, "CompositionModel": {"hidden_dims": "8"}}
    sizes["KernelModel"] = {"encoder": SMALL}
    made = create_model(name, **sizes.get(name, SMALL))
    made.push_to_hub("owner/model")
    again = MODELS[name].from_pretrained("owner/model")  # type: ignore[attr-defined]
    assert type(again) is MODELS[name] and again.config == made.config
    assert all(torch.equal(again.state_dict()[key], value) for key, value in made.state_dict().items())
