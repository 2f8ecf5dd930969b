"""A saved model comes back the same; damaged, foreign and dangerous files are refused with the reason."""

import json
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from complexes import SMALL, small_config, some_complexes
from golden import KEPT, recorded_batch, recorded_model

from configs.errors import CheckpointError, ConfigError
from configs.files import read_json, write_json
from configs.schema import from_flat
from data.vocab import load_vocabulary
from models import (
    MODELS,
    DenoisePretrainModel,
    PredictionModel,
    create_model,
    from_pretrained,
    load_published,
    load_weights_into,
    save_pretrained,
)
from models.persistence import read_manifest
from models.weights_file import weights_bytes


@pytest.fixture
def model() -> DenoisePretrainModel:
    torch.manual_seed(0)
    return DenoisePretrainModel(small_config(modality_embedding=True)).eval()


@pytest.fixture
def saved(model: DenoisePretrainModel, tmp_path: Path) -> Path:
    save_pretrained(model, tmp_path / "saved", {"epoch": 3})
    return tmp_path / "saved"


def published_files(folder: Path, name: str = "DenoisePretrainModel") -> tuple[Path, Path]:
    """A published pair of files as users have them: config.json and weights saved with torch."""
    model = recorded_model(f"tiny/{name}")
    state = dict(model.state_dict()) | {
        "encoder.encoder.layers.0.tp.weight": torch.zeros(0),
        "encoder.encoder.layers.0.tp.output_mask": torch.ones(40),
        "encoder.encoder.layers.0.tp._compiled_main_left_right._w3j_0_1_1": torch.zeros(1, 3, 3),
    }
    torch.save(state, folder / "weights.pt")
    return KEPT / name / "config.json", folder / "weights.pt"


def test_a_saved_model_comes_back_the_same(model: DenoisePretrainModel, saved: Path) -> None:
    again = from_pretrained(saved)
    assert type(again) is DenoisePretrainModel
    assert again.config == model.config
    assert not again.training
    batch = some_complexes(1)[0]
    assert torch.equal(again.infer(batch).graph_repr, model.infer(batch).graph_repr)
    assert read_manifest(saved)["extra"] == {"epoch": 3}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_can_be_made_saved_and_read(name: str, tmp_path: Path) -> None:
    sizes = {"ProteinInterfaceModel": {"prot_model": SMALL}, "CompositionModel": {"hidden_dims": "8,4"}}
    sizes["KernelModel"] = {"encoder": SMALL}
    made = create_model(name, **sizes.get(name, SMALL))
    save_pretrained(made, tmp_path)
    again = from_pretrained(tmp_path)
    assert again.config_dict() == made.config_dict()
    assert again.config_dict()["model_type"] == name


def test_a_damaged_file_is_named(saved: Path) -> None:
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: is damaged: its checksum differs"):
        from_pretrained(saved)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name}: no such file"):
        from_pretrained(saved)


def test_a_folder_without_a_manifest_is_no_checkpoint(saved: Path) -> None:
    (saved / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"holds no checkpoint \(a checkpoint has model\.safetensors"):
        from_pretrained(saved)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere: no such folder"):
        from_pretrained(tmp_path / "nowhere")


def test_the_bytes_of_a_weights_file_depend_on_its_content_alone() -> None:
    """Checksums tell whether two runs came to the same; the library's own order of metadata is a matter of chance."""
    state = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(1, dtype=torch.float64), "c": torch.zeros(0, 2)}
    metadata = {name: name * 3 for name in "zyxwvuts"}
    made = weights_bytes(state, metadata)
    assert made == weights_bytes(state, dict(reversed(metadata.items())))
    read = safetensors.torch.load(made)
    assert read.keys() == state.keys() and all(torch.equal(read[name], state[name]) for name in state)
    assert made.index(b'"s"') < made.index(b'"t"') < made.index(b'"z"')


def test_another_format_is_refused(saved: Path) -> None:
    manifest = saved / "manifest.json"
    write_json(manifest, read_json(manifest) | {"format": 99}, sealed=True)
    with pytest.raises(CheckpointError, match="has format 99"):
        from_pretrained(saved)


def test_published_files_give_the_recorded_numbers(tmp_path: Path) -> None:
    inputs, expected = recorded_batch("tiny/DenoisePretrainModel", "batch1")
    model = load_published(*published_files(tmp_path), padding="batch")
    torch.testing.assert_close(
        model.infer(inputs).graph_repr, torch.as_tensor(expected["graph_repr"]), atol=1e-5, rtol=0
    )
    config = model.config
    assert (config.padding, config.unknown_blocks, config.torsion_neighbors) == ("batch", "global", "first")
    assert load_published(*published_files(tmp_path)).config.padding == "own"


@pytest.mark.parametrize(
    "change",
    [torch.Tensor.to_sparse, lambda t: t.to("meta"), lambda t: t.to(torch.complex64)],
    ids=["sparse", "meta", "complex"],
)
def test_tensors_that_are_no_plain_numbers_are_refused_by_name(tmp_path: Path, change) -> None:
    config, weights = published_files(tmp_path)
    state = torch.load(weights, weights_only=True)
    name = "encoder.encoder.out_ffn.3.weight"
    torch.save(state | {name: change(state[name])}, weights)
    with pytest.raises(CheckpointError, match=f"{name} is no plain tensor"):
        load_published(config, weights)


def test_a_folder_in_place_of_weights_is_named(tmp_path: Path) -> None:
    config, _ = published_files(tmp_path)
    with pytest.raises(CheckpointError, match="is a folder"):
        load_published(config, tmp_path)


@pytest.mark.parametrize("kind", [5, ["PredictionModel"], None])
def test_a_model_type_that_is_no_name_is_refused(tmp_path: Path, kind) -> None:
    config, weights = published_files(tmp_path)
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": kind}))
    with pytest.raises(CheckpointError, match="unknown model_type"):
        load_published(changed, weights)


def test_published_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    config, weights = published_files(tmp_path)
    state = torch.load(weights, weights_only=True)
    del state["attention_pooling.graph_repr_fc.bias"]
    state["another.weight"] = torch.zeros(2)
    torch.save(state, weights)
    with pytest.raises(CheckpointError, match=r"graph_repr_fc\.bias.*left over: another\.weight"):
        load_published(config, weights)


def test_constants_may_be_absent_from_published_weights(tmp_path: Path) -> None:
    config, weights = published_files(tmp_path)
    wanted = load_published(config, weights).state_dict()
    state = torch.load(weights, weights_only=True)
    torch.save({name: value for name, value in state.items() if not name.endswith((".offset", "output_mask"))}, weights)
    found = load_published(config, weights).state_dict()
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("name", ["k_neighbors", "global_message_passing", "fragmentation_method"])
def test_a_key_whose_absence_no_shape_would_show_is_told(tmp_path: Path, name: str, caplog) -> None:
    config, weights = published_files(tmp_path)
    values = json.loads(config.read_text())
    load_published(config, weights)
    assert not caplog.records
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps({key: value for key, value in values.items() if key != name}))
    load_published(changed, weights)
    assert [f"does not say {name}: " in record.message for record in caplog.records] == [True]


def test_a_head_of_another_size_is_no_head_of_this_model(tmp_path: Path) -> None:
    config, weights = published_files(tmp_path)
    state = torch.load(weights, weights_only=True)
    name = "encoder.encoder.tor_final_layer.3.weight"
    torch.save(state | {name: torch.zeros(1, 3)}, weights)
    with pytest.raises(CheckpointError, match=rf"weights\.pt: {name} has shape \(1, 3\), the model wants \(1, 8\)"):
        load_published(config, weights)


def test_a_configuration_that_makes_no_sense_is_told_with_its_file(tmp_path: Path) -> None:
    config, weights = published_files(tmp_path)
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(json.loads(config.read_text()) | {"dropout": 1.5}))
    with pytest.raises(CheckpointError, match=r"changed\.json, --dropout: must be in"):
        load_published(changed, weights)
    changed.write_text(json.dumps({"model_type": "ProteinInterfaceModel"}))
    with pytest.raises(CheckpointError, match=r"changed\.json: lacks prot_model"):
        load_published(changed, weights)


def test_weights_that_hold_more_than_tensors_are_not_opened(tmp_path: Path) -> None:
    config, weights = published_files(tmp_path)
    with open(weights, "wb") as file:
        pickle.dump({"weight": Path("x")}, file, protocol=2)
    with pytest.raises(CheckpointError, match=r"holds more than tensors and is not opened.*in a sandbox"):
        load_published(config, weights)


def test_other_bad_weights_say_what_is_wrong(tmp_path: Path) -> None:
    config, weights = published_files(tmp_path)
    torch.save([torch.zeros(1)], weights)
    with pytest.raises(CheckpointError, match="is not a map from names to tensors"):
        load_published(config, weights)
    weights.write_bytes(b"")
    with pytest.raises(CheckpointError, match="is damaged"):
        load_published(config, weights)
    with pytest.raises(CheckpointError, match="no such file"):
        load_published(config, tmp_path / "absent.pt")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"12345678" * 3)
    with pytest.raises(CheckpointError, match="is damaged"):
        load_published(config, broken)


def test_an_unknown_model_type_names_the_nearest(tmp_path: Path) -> None:
    config, weights = published_files(tmp_path)
    wrong = tmp_path / "config.json"
    wrong.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "PredictionModle"}))
    with pytest.raises(CheckpointError, match=r"unknown model_type 'PredictionModle' \(did you mean 'PredictionModel'"):
        load_published(wrong, weights)


def test_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    config, weights = published_files(tmp_path)
    wrong = tmp_path / "config.json"
    wrong.write_text(json.dumps(json.loads(config.read_text()) | {"k_neighbours": 3}))
    with pytest.raises(CheckpointError, match=r"unknown key 'k_neighbours'.*did you mean 'k_neighbors'"):
        load_published(wrong, weights)


def test_a_head_less_model_takes_the_common_weights_and_says_so(model: DenoisePretrainModel) -> None:
    plain = create_model("PredictionModel", **SMALL, modality_embedding=True)
    report = load_weights_into(plain, model.state_dict())
    assert not report.new
    assert "masked_ffn.1.weight" in report.left_over
    assert "left over: " in str(report)
    batch = some_complexes(1)[0]
    assert torch.equal(plain.infer(batch).graph_repr, model.infer(batch).graph_repr)
    back = load_weights_into(DenoisePretrainModel(small_config(modality_embedding=True)), plain.state_dict())
    assert "masked_ffn.1.weight" in back.new
    assert "new (initial values)" in str(back)


def test_weights_of_another_size_are_refused(model: DenoisePretrainModel) -> None:
    wider = create_model("PredictionModel", **(SMALL | {"atom_hidden_size": 12, "block_hidden_size": 12}))
    with pytest.raises(CheckpointError, match=r"has shape .* the model wants"):
        load_weights_into(wider, model.state_dict())


def test_published_modalities_stand_in_for_ours() -> None:
    model = create_model("PredictionModel", **SMALL, modality_embedding=True, num_modalities=8)
    assert model.modality_embedding.weight.shape[0] == 8
    batch = some_complexes(1)[0]
    glycan, ligand, protein = (
        model.infer(batch | {"modality": torch.tensor([m])}).graph_repr for m in (8, 1, 0)
    )  # Pglycan, PL, PP
    assert torch.equal(glycan, ligand)
    assert not torch.equal(glycan, protein)


def test_a_run_makes_the_heads_of_its_noise() -> None:
    run = from_flat(
        {
            "atom_hidden_size": 8,
            "block_hidden_size": 8,
            "n_layers": 1,
            "translation_noise": 1.0,
            "mask_proportion": 0.1,
            "tr_weight": 2.0,
            "fragmentation_method": "PS_300",
        }
    )
    vocabulary = load_vocabulary("PS_300")
    model = create_model(run, vocabulary)
    assert type(model) is DenoisePretrainModel
    assert model.config.translation_noise
    assert not model.config.torsion_noise
    assert model.config.translation_weight == 2.0
    assert model.config.num_masked_block_classes == vocabulary.n_mask_classes == 436
    assert model.block_embedding.block_embedding.weight.shape[0] == vocabulary.size


def test_create_model_names_what_it_does_not_know() -> None:
    with pytest.raises(ConfigError, match=r"unknown model 'Prediction'"):
        create_model("Prediction")
    with pytest.raises(ConfigError, match=r"unknown key 'layers'"):
        create_model("PredictionModel", layers=3)
    with pytest.raises(ConfigError, match="needs the vocabulary"):
        create_model(from_flat({}))
    with pytest.raises(ConfigError, match="equal to atom_hidden_size"):
        create_model("PredictionModel", atom_hidden_size=8, block_hidden_size=16)
    assert isinstance(create_model("PredictionModel", **SMALL), PredictionModel)
