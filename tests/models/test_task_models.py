"""Models of tasks: recorded numbers, losses, gradients, and how they start from other checkpoints."""

import json

import numpy as np
import pytest
import torch
from complexes import SMALL, joined, some_complexes
from golden import RECORDED, compare_gradients, recorded_batch, recorded_model, single
from torch import Tensor

from configs.errors import ConfigError, DataError
from models import MODELS, create_model, from_pretrained, load_published, load_weights_into
from models.layers.mlp import mlp
from models.losses import contrastive_loss
from models.persistence import model_from_config, published_values

TASKS = (
    *("AffinityPredictor", "AffinityPredictor_blockemb", "ClassifierModel", "MultiClassClassifierModel"),
    *("RegressionPredictor", "MaskedNodeModel"),
)
LABELLED = ("AffinityPredictor", "ClassifierModel", "MultiClassClassifierModel", "RegressionPredictor")
recorded = pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recordings in {RECORDED} (INTERFACE_PARITY)")
real = (recorded, pytest.mark.real_data)


def labelled(n: int = 3) -> dict[str, Tensor]:
    """Complexes with whole-numbered labels and vectors for every block."""
    batch = joined(some_complexes(n))
    vectors = torch.randn(len(batch["B"]), 5, generator=torch.Generator().manual_seed(2))
    return batch | {"label": torch.arange(n) % 2, "block_embeddings": vectors}


def make(name: str, **changes):
    torch.manual_seed(0)
    return create_model(name, **({"prot_model": SMALL} if name == "ProteinInterfaceModel" else SMALL), **changes)


def pair_batch(n: int = 3) -> dict[str, Tensor]:
    """Complexes, and their segment 0 alone."""
    graphs = some_complexes(n)
    whole = joined(graphs)
    proteins = []
    for graph in graphs:
        blocks = int((graph["segment_ids"] == 0).sum())
        atoms = int(graph["block_lengths"][:blocks].sum())
        cut = {name: graph[name][:blocks] for name in ("B", "block_lengths", "segment_ids")}
        cut |= {name: graph[name][:atoms] for name in ("X", "A")} | {"lengths": torch.tensor([blocks])}
        proteins.append(cut | {name: graph[name][..., :0] for name in ("tor_edges", "tor_batch")})
    alone = joined(proteins)
    names = ("X", "A", "B", "block_lengths", "segment_ids", "lengths")
    return {f"cmplx_{name}": whole[name] for name in names} | {f"prot_{name}": alone[name] for name in names}


@pytest.mark.parametrize("batch", ["batch0", "batch1"])
@pytest.mark.parametrize("name", [pytest.param(name, marks=real) for name in TASKS])
def test_predictions_losses_and_gradients_are_the_published_ones(name: str, batch: str) -> None:
    inputs, expected = recorded_batch(name, batch)
    model = recorded_model(name)
    output = model(inputs)
    for key in ("unit_repr", "block_repr", "graph_repr"):
        if key in expected:
            np.testing.assert_allclose(getattr(output, key).detach(), expected[key], atol=1e-5, rtol=0, err_msg=key)
    pairs = {"pred": "pred", "head_raw": "logits", "loss": "loss", "masked_logits": "logits", "pred_blocks": "pred"}
    compared = [key for key in pairs if key in expected]
    assert len(compared) >= 2
    for key in compared:
        found = getattr(output, pairs[key]).detach()
        np.testing.assert_allclose(found, expected[key], atol=1e-4, rtol=1e-5, err_msg=key)
    if any(key.startswith("grad:") for key in expected):
        output.loss.backward()
        compare_gradients(model, expected)


@pytest.mark.parametrize("batch", ["batch0", "batch1"])
@pytest.mark.parametrize("name", [pytest.param("ProteinInterfaceModel", marks=real)])
def test_the_interface_model_gives_the_published_numbers(name: str, batch: str) -> None:
    inputs, expected = recorded_batch(name, batch)
    output = recorded_model(name).infer(inputs)
    pairs = {"prot_graph_repr": "graph_repr", "prot_unit_repr": "unit_repr", "prot_block_repr": "block_repr"}
    pairs |= {key: key for key in ("cmplx_graph_repr", "cmplx_ffn_out", "prot_ffn_out")}
    for theirs, ours in pairs.items():
        np.testing.assert_allclose(getattr(output, ours), expected[theirs], atol=1e-5, rtol=0, err_msg=theirs)
    assert float(output.loss) == pytest.approx(float(expected["loss"]), abs=1e-4)


@pytest.mark.parametrize("padding", ["own", "masked"])
@pytest.mark.parametrize("name", [pytest.param(name, marks=real) for name in ("ClassifierModel", "AffinityPredictor")])
def test_predictions_do_not_depend_on_batch_mates(name: str, padding: str) -> None:
    inputs, _ = recorded_batch(name, "batch1")
    model = recorded_model(name, padding=padding)
    alone = torch.cat([model.infer(single(inputs, i)).pred for i in range(3)])
    torch.testing.assert_close(model.infer(inputs).pred, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", LABELLED)
def test_without_labels_there_is_a_prediction_but_no_loss(name: str) -> None:
    batch, model = labelled(), make(name)
    assert model(batch).loss.isfinite()
    output = model({key: value for key, value in batch.items() if key != "label"})
    assert output.loss is None
    assert output.parts() == {}
    assert len(output.pred) == 3


@pytest.mark.parametrize("name", LABELLED)
def test_a_task_can_be_learnt(name: str) -> None:
    batch, model = labelled(4), make(name, **({"num_classes": 2} if "Multi" in name else {}))
    head = [p for key, p in model.named_parameters() if "_ffn." in key]
    optimiser = torch.optim.Adam([{"params": head, "lr": 0.02}, {"params": model.attention_pooling.parameters()}])
    first = model(batch).loss.item()
    for _ in range(15):
        optimiser.zero_grad()
        loss = model(batch).loss
        loss.backward()
        optimiser.step()
    assert loss.item() < first


def test_energies_of_global_blocks_count_only_if_they_pass_messages() -> None:
    batch = labelled()
    for passing in (True, False):
        model = make("AffinityPredictor")
        model = create_model("AffinityPredictor", **(SMALL | {"global_message_passing": passing}))
        output = model.infer(batch)
        counted = output.logits.squeeze(1) * (torch.ones(()) if passing else (batch["B"] != 3))
        sums = torch.stack([part.sum() for part in counted.split(batch["lengths"].tolist())])
        torch.testing.assert_close(output.pred, sums)


def test_the_frozen_encoder_gets_no_gradient_and_stays_in_evaluation_mode() -> None:
    model = make("ProteinInterfaceModel").train()
    assert not model.cmplx_model.training
    model(pair_batch()).loss.backward()
    assert all(p.grad is None for p in model.cmplx_model.parameters())
    assert all(p.grad is not None for p in model.cmplx_ffn.parameters())
    assert any(p.grad.abs().max() > 0 for p in model.prot_model.parameters() if p.grad is not None)


def test_a_protein_alone_is_embedded_without_complexes() -> None:
    model, batch = make("ProteinInterfaceModel").eval(), pair_batch()
    alone = {name: value for name, value in batch.items() if name.startswith("prot_")}
    plain = {name.removeprefix("prot_"): value for name, value in alone.items()}
    for inputs in (alone, plain):
        output = model.infer(inputs)
        assert output.loss is None
        assert output.cmplx_pred is None
        torch.testing.assert_close(output.pred, model.infer(batch).pred)
    with pytest.raises(DataError, match="is a list"):
        model([1, 2])


def test_contrastive_loss_by_hand() -> None:
    z, y = torch.eye(2), torch.tensor([[1.0, 0], [0, 1]])
    # a_ii = 2, all other products 0: -2 + log(e^0 + e^2 + e^0) for each of the four terms
    expected = -2 + torch.tensor([0.0, 2.0, 0.0]).exp().sum().log()
    torch.testing.assert_close(contrastive_loss(z, y), expected)
    assert contrastive_loss(z[:1], y[:1]).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "target", [name for name in MODELS if name not in ("ProteinInterfaceModel", "CompositionModel", "KernelModel")]
)
@pytest.mark.parametrize("source", ["DenoisePretrainModel", "ProteinInterfaceModel", "ClassifierModel"])
def test_any_model_starts_from_any_checkpoint(source: str, target: str) -> None:
    start, model = make(source), make(target)
    report = load_weights_into(model, start.state_dict())
    heads = ("ffn", "denoise", "torsion", "tor_", "projector")
    assert all(any(word in name for word in heads) for name in report.new), report.new
    encoder = start.prot_model if source == "ProteinInterfaceModel" else start
    torch.testing.assert_close(model.encode(labelled()).unit_repr, encoder.encode(labelled()).unit_repr)


def test_the_interface_model_takes_one_encoder_for_both() -> None:
    start, model = make("DenoisePretrainModel"), make("ProteinInterfaceModel")
    report = load_weights_into(model, start.state_dict())
    assert all(name.startswith(("cmplx_ffn", "prot_ffn")) for name in report.new)
    for encoder in (model.cmplx_model, model.prot_model):
        torch.testing.assert_close(encoder.encode(labelled()).graph_repr, start.eval().encode(labelled()).graph_repr)


def test_a_head_of_another_size_is_new_and_left_over() -> None:
    report = load_weights_into(
        make("MultiClassClassifierModel", num_classes=7), make("MultiClassClassifierModel", num_classes=3).state_dict()
    )
    assert report.new == report.left_over == ("classifier_ffn.7.weight", "classifier_ffn.7.bias")


def test_projectors_of_other_block_vectors_are_new_and_left_over() -> None:
    names = ("pre_projector.2.weight", "post_projector.2.weight")
    report = load_weights_into(
        make("AffinityPredictor", block_embedding_size=7),
        make("AffinityPredictor", block_embedding_size=5).state_dict(),
    )
    assert set(report.new) == set(report.left_over) == set(names)
    assert "pre_mixing_ffn.2.weight" in report.loaded


def test_eight_published_kinds_of_complex_fill_our_table() -> None:
    published = make("PredictionModel", modality_embedding=True, num_modalities=8)
    ours = make("PredictionModel", modality_embedding=True)
    assert not load_weights_into(ours, published.state_dict()).new
    batch = some_complexes(1)[0]
    for kind in range(len(ours.modality_embedding.weight)):
        batch["modality"] = torch.tensor([kind])
        torch.testing.assert_close(ours.infer(batch).graph_repr, published.infer(batch).graph_repr)


def test_an_activation_that_the_published_file_lost_can_be_named(caplog: pytest.LogCaptureFixture) -> None:
    values = {"model_type": "ClassifierModel", "nonlinearity": None} | SMALL
    found = {}
    for name in ("gelu", "elu"):
        model = model_from_config(published_values(values, {}, "own", name) | {"num_block_types": 40}, "config")
        found[name] = type(model.classifier_ffn[0])
    assert found == {"gelu": torch.nn.GELU, "elu": torch.nn.ELU}
    assert "does not say whether its activation is gelu or elu" in caplog.text


@pytest.mark.parametrize("name", [pytest.param(name, marks=real) for name in (*TASKS, "ProteinInterfaceModel")])
def test_published_files_of_every_type_load(name: str, tmp_path) -> None:
    model = recorded_model(name)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    loaded = load_published(RECORDED / name / "config.json", tmp_path / "weights.pt")
    assert json.loads((RECORDED / name / "config.json").read_text())["model_type"] == type(loaded).__name__
    loaded.save_pretrained(tmp_path / "ours")
    assert from_pretrained(tmp_path / "ours").config == loaded.config


def test_an_unknown_activation_and_too_few_classes_are_refused() -> None:
    with pytest.raises(ConfigError, match="nonlinearity"):
        make("ClassifierModel", nonlinearity="tanh")
    with pytest.raises(ConfigError, match="at least 2"):
        make("MultiClassClassifierModel", num_classes=1)


def test_layers_of_a_perceptron_have_the_published_numbers() -> None:
    assert [name for name, _ in mlp(3, 4, 5, 1, 0.0).named_parameters()] == [
        *("2.weight", "2.bias", "5.weight", "5.bias", "8.weight", "8.bias")
    ]


@pytest.mark.parametrize("alone", [False, True], ids=["pairs", "proteins"])
def test_the_interface_model_takes_the_published_keywords(alone: bool) -> None:
    model, batch = make("ProteinInterfaceModel").eval(), pair_batch()
    if alone:
        batch = {name.removeprefix("prot_"): value for name, value in batch.items() if name.startswith("prot_")}
    keywords = {name[:-1] + "Z" if name.endswith("X") else name: value for name, value in batch.items()}
    expected, found = model(batch), model(**keywords)
    assert torch.equal(found.pred, expected.pred)
    assert (found.loss is None) == alone
