"""The pretraining model: learns, survives poor batches, and says what a batch lacks."""

import pytest
import torch
from complexes import complex_of, joined, small_config, some_complexes

from configs.errors import DataError
from models import DenoisePretrainModel

PARTS = {
    f"{name}_{kind}" for name in ("torsion", "translation", "rotation", "atom", "masked") for kind in ("loss", "base")
}


@pytest.fixture
def model() -> DenoisePretrainModel:
    torch.manual_seed(0)
    return DenoisePretrainModel(small_config(modality_embedding=True))


def finite_gradients(model: DenoisePretrainModel, batch: dict) -> None:
    model.zero_grad()
    output = model(batch)
    output.loss.backward()
    for name, parameter in model.named_parameters():
        assert not parameter.requires_grad or parameter.grad is not None, name
        assert parameter.grad is None or parameter.grad.isfinite().all(), name


def test_every_part_is_logged_beside_its_base(model: DenoisePretrainModel) -> None:
    output = model(joined(some_complexes(2)))
    assert set(output.parts()) == PARTS | {"loss"}
    config = model.config
    weights = {"torsion": config.torsion_weight, "translation": config.translation_weight}
    weights |= {"rotation": config.rotation_weight, "atom": config.atom_weight, "masked": config.mask_weight}
    total = sum(weight * output.terms[f"{name}_loss"] for name, weight in weights.items())
    torch.testing.assert_close(output.loss, total)
    assert output.pred_blocks.sum(1).allclose(torch.ones(2))


def test_a_batch_without_torsion_bonds(model: DenoisePretrainModel) -> None:
    batch = joined(some_complexes(2))
    empty = {"tor_edges": batch["tor_edges"][:, :0], "tor_score": batch["tor_score"][:0]}
    empty |= {"tor_batch": batch["tor_batch"][:0]}
    for poor in (batch | empty, {name: value for name, value in batch.items() if not name.startswith("tor_")}):
        finite_gradients(model, poor)
        assert model(poor).torsion_loss == 0


def test_a_batch_without_masked_blocks(model: DenoisePretrainModel) -> None:
    batch = joined(some_complexes(2))
    nothing = {"masked_blocks": torch.zeros_like(batch["masked_blocks"]), "masked_labels": batch["masked_labels"][:0]}
    finite_gradients(model, batch | nothing)
    assert model(batch | nothing).masked_loss == 0


@pytest.mark.parametrize("blocks", [(4,), (1, 6), (1, 1), (1,)], ids=["one segment", "an ion", "two atoms", "one atom"])
def test_odd_complexes(model: DenoisePretrainModel, blocks: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    odd = complex_of(generator, blocks, atoms=1)
    finite_gradients(model, odd)
    finite_gradients(model, joined([odd, *some_complexes(2)]))


def test_atoms_in_the_same_place(model: DenoisePretrainModel) -> None:
    batch = some_complexes(1)[0]
    finite_gradients(model, batch | {"X": torch.zeros_like(batch["X"])})


def test_torsion_bonds_that_collapsed_to_one_atom(model: DenoisePretrainModel) -> None:
    batch = some_complexes(1)[0]
    finite_gradients(model, batch | {"tor_edges": batch["tor_edges"][:1].expand(2, -1)})


def test_a_model_without_any_noise_has_zero_loss() -> None:
    off = dict.fromkeys(("atom_noise", "translation_noise", "rotation_noise", "torsion_noise"), False)
    output = DenoisePretrainModel(small_config(**off, num_masked_block_classes=None))(some_complexes(1)[0])
    assert output.loss == 0
    assert output.parts().keys() == {"loss"}


@pytest.mark.parametrize("name", ["noisy_segment", "tr_score", "rot_score", "tr_eps", "atom_score", "atom_eps"])
def test_a_missing_target_is_named(model: DenoisePretrainModel, name: str) -> None:
    batch = {key: value for key, value in some_complexes(1)[0].items() if key != name}
    with pytest.raises(DataError, match=f"batch: lacks {name}"):
        model(batch)


@pytest.mark.parametrize("name", ["X", "A", "B", "block_lengths", "segment_ids", "lengths"])
def test_a_missing_input_is_named(model: DenoisePretrainModel, name: str) -> None:
    with pytest.raises(DataError, match=f"batch: lacks {name}"):
        model({key: value for key, value in some_complexes(1)[0].items() if key != name})


def test_sizes_that_contradict_each_other_are_refused(model: DenoisePretrainModel) -> None:
    batch = some_complexes(1)[0]
    with pytest.raises(DataError, match="X has"):
        model(batch | {"X": batch["X"][1:]})
    with pytest.raises(DataError, match="lengths sum to"):
        model(batch | {"lengths": batch["lengths"] + 1})
    with pytest.raises(DataError, match="block_lengths sum to"):
        model(batch | {"block_lengths": batch["block_lengths"] + 1})


def test_keywords_and_numpy_arrays_work_too(model: DenoisePretrainModel) -> None:
    batch = some_complexes(1)[0]
    model.eval()
    by_mapping = model(batch).graph_repr
    by_keyword = model(
        Z=batch["X"].numpy(), **{k: v.int() if v.dtype == torch.long else v for k, v in batch.items() if k != "X"}
    )
    torch.testing.assert_close(by_keyword.graph_repr, by_mapping)


def test_infer_leaves_the_mode_and_needs_no_gradient(model: DenoisePretrainModel) -> None:
    model.train()
    output = model.infer(some_complexes(1)[0])
    assert model.training
    assert not output.loss.requires_grad


def test_the_kind_of_complex_matters_and_an_unknown_one_adds_nothing(model: DenoisePretrainModel) -> None:
    batch = some_complexes(1)[0]
    values = [model.infer(batch | {"modality": torch.tensor([m])}).graph_repr for m in (0, 1, 9)]
    assert min((values[0] - values[1]).abs().max(), (values[1] - values[2]).abs().max()) > 1e-4
    unknown = model.infer(batch | {"modality": torch.tensor([-1])}).graph_repr
    without = model.infer({name: value for name, value in batch.items() if name != "modality"}).graph_repr
    torch.testing.assert_close(unknown, without)


def test_torsion_neighbours_are_the_nearest_or_the_first() -> None:
    batch = some_complexes(1)[0]
    chosen = {}
    for which in ("nearest", "first"):
        model = DenoisePretrainModel(small_config(torsion_neighbors=which))
        chosen[which] = model.infer(batch).torsion_edges
    X = batch["X"]
    for bond, (p, q) in enumerate(batch["tor_edges"].T.tolist()):
        away = ((X[p] + X[q]) / 2 - X).norm(dim=1)
        near = (away < 5).nonzero()[:, 0]
        assert chosen["first"][1][chosen["first"][0] == bond].tolist() == near[:4].tolist()
        nearest = near[away[near].argsort()][:4].tolist()
        assert chosen["nearest"][1][chosen["nearest"][0] == bond].tolist() == nearest


def test_eight_complexes_can_be_learnt_by_heart() -> None:
    generator = torch.Generator().manual_seed(0)
    batch = joined([complex_of(generator, (3, 2), 2) for _ in range(8)])
    for name in ("tr_score", "rot_score"):
        batch[name] = 0.5 * batch[name]
    batch["tr_eps"] = torch.ones(8)
    torch.manual_seed(0)
    off = {"atom_noise": False, "n_layers": 2, "k_neighbors": 3}
    model = DenoisePretrainModel(small_config(**off))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    first = model(batch).loss.item()
    for _ in range(100):
        optimiser.zero_grad()
        loss = model(batch).loss
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.3 * first


def test_terms_have_their_published_names_too() -> None:
    torch.manual_seed(0)
    output = DenoisePretrainModel(small_config()).infer(some_complexes(1)[0])
    assert output.tor_loss is output.torsion_loss
    assert output.masked_loss is output.terms["masked_loss"]
    with pytest.raises(AttributeError, match="no 'other_loss'"):
        _ = output.other_loss
