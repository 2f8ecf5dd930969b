"""Labels of which any number may hold: golden losses, missing labels, the head that goes on with known labels."""

from pathlib import Path

import pytest
import torch
from complexes import SMALL, joined, some_complexes

from configs.errors import ConfigError
from configs.multilabel_options import MultiLabelOptions
from models import MultiLabelModel, create_model, from_pretrained, save_pretrained
from models.losses import asymmetric_loss, bce_loss, focal_loss, label_loss
from trainers.start import start_from


def loss_of(loss, logit: float, target: float, **options: float) -> float:
    return loss(torch.tensor(logit, dtype=torch.float64), torch.tensor(target), **options).item()


def test_asl_golden() -> None:
    assert loss_of(asymmetric_loss, 0, 1) == pytest.approx(0.693147, abs=1e-6)
    assert loss_of(asymmetric_loss, 0, 0) == pytest.approx(0.121062, abs=1e-6)
    assert loss_of(asymmetric_loss, 2, 0) == pytest.approx(1.226291, abs=1e-6)
    assert loss_of(asymmetric_loss, -4, 0) == 0


def test_focal_golden() -> None:
    assert loss_of(focal_loss, 0, 1) == pytest.approx(0.086643, abs=1e-6)
    assert loss_of(focal_loss, 2, 0) == pytest.approx(0.825039, abs=1e-6)
    assert loss_of(focal_loss, 2, 0, gamma=0) == pytest.approx(1.063464, abs=1e-6)


def test_without_their_powers_both_are_cross_entropy() -> None:
    logits, target = torch.linspace(-6, 6, 7, dtype=torch.float64), torch.tensor([0, 1, 0, 1, 0, 1, 1])
    plain = bce_loss(logits, target)
    torch.testing.assert_close(asymmetric_loss(logits, target, gamma_neg=0, clip=0), plain)
    torch.testing.assert_close(2 * focal_loss(logits, target, gamma=0), plain)


@pytest.mark.parametrize("loss", [bce_loss, asymmetric_loss, focal_loss])
def test_gradients_are_right_and_finite_far_out(loss) -> None:
    logits = torch.tensor([-2.0, -0.5, 0.3, 1.7], dtype=torch.float64, requires_grad=True)
    for target in (torch.zeros(4), torch.ones(4)):
        assert torch.autograd.gradcheck(lambda z, y=target: loss(z, y), (logits,))
        far = torch.tensor([-200.0, -50.0, 50.0, 200.0], requires_grad=True)
        loss(far, target).sum().backward()
        assert torch.isfinite(far.grad).all()


@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_small_powers_have_finite_gradients(gamma: float) -> None:
    logits = torch.tensor([-120.0, -4.0, 120.0], requires_grad=True)
    for target in (torch.zeros(3), torch.ones(3)):
        asymmetric_loss(logits, target, gamma, gamma).sum().backward()
        focal_loss(logits, target, gamma=gamma).sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_options_reach_the_loss() -> None:
    z, y = torch.tensor([2.0]), torch.tensor([0])
    assert label_loss(MultiLabelOptions())(z, y) == bce_loss(z, y)
    chosen = MultiLabelOptions(label_loss="asl", asl_gamma_neg=1.0, asl_clip=0.1)
    assert label_loss(chosen)(z, y) == asymmetric_loss(z, y, 0.0, 1.0, 0.1)
    assert label_loss(MultiLabelOptions(label_loss="focal", focal_gamma=0.0))(z, y) == focal_loss(z, y, 0.5, 0.0)


@pytest.mark.parametrize("wrong", [{"asl_clip": 1.0}, {"focal_alpha": 2.0}, {"min_obs_per_ligand": -1}])
def test_senseless_numbers_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=f"--{next(iter(wrong))}"):
        MultiLabelOptions(**wrong)


def model_of(*labels: str, seed: int = 0) -> MultiLabelModel:
    torch.manual_seed(seed)
    return create_model("MultiLabelModel", labels=labels, **SMALL).eval()


@pytest.mark.parametrize("labels", [(), ("ATP", "ATP")])
def test_labels_have_names_of_their_own(labels: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="names of labels"):
        model_of(*labels)


def test_its_own_loss_leaves_out_what_is_not_known() -> None:
    model, batch = model_of("ATP", "MG"), joined(some_complexes(3))
    target = torch.tensor([[1.0, float("nan")], [0.0, 1.0], [float("nan"), float("nan")]])
    output = model({**batch, "targets": target})
    known = torch.isfinite(target)
    torch.testing.assert_close(output.loss, bce_loss(output.logits[known], target[known]).mean())
    assert output.pred.shape == (3, 2)
    assert model(batch).loss is None


def test_labels_are_stored_with_the_model(tmp_path: Path) -> None:
    model, batch = model_of("ATP", "MG", "1 odd/NAME"), joined(some_complexes(2))
    save_pretrained(model, tmp_path, {"labels": {"labels": list(model.labels)}})
    stored = from_pretrained(tmp_path)
    assert stored.labels == ("ATP", "MG", "1 odd/NAME")
    assert torch.equal(stored.infer(batch).pred, model.infer(batch).pred)
    assert "Labels, in the order of its outputs: `ATP`, `MG`, `1 odd/NAME`." in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("options", [{}, {"label_loss": "asl"}, {"label_loss": "focal", "focal_gamma": 1.0}])
def test_a_new_head_starts_where_its_loss_is_least(options: dict) -> None:
    """A grid of logits has none that costs less; the frequency itself is the start for cross entropy alone."""
    loss, share, model = (
        label_loss(MultiLabelOptions(**options)),
        torch.tensor([0.02, 0.1, 0.4]),
        model_of("a", "b", "c"),
    )
    model.start_at(share.tolist(), loss)
    start = model.classifier_ffn[-1].bias.detach()
    grid = torch.linspace(-6.5, 6.5, 1301)[:, None].expand(-1, 3)

    def cost(logits: torch.Tensor) -> torch.Tensor:
        return share * loss(logits, torch.ones_like(logits)) + (1 - share) * loss(logits, torch.zeros_like(logits))

    assert (cost(start) <= cost(grid).min(0).values + 1e-6).all()
    assert torch.allclose(start.sigmoid(), share, atol=1e-4) == (not options)


class Start:
    pretrain_ckpt, pretrain_weights = "somewhere", None


def test_known_labels_keep_their_row_of_the_head() -> None:
    source, model, batch = model_of("ATP", "MG"), model_of("MG", "ZN", seed=1), joined(some_complexes(2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    start_from(model, source, Start())  # type: ignore[arg-type]
    torch.testing.assert_close(model.infer(batch).pred[:, 0], source.infer(batch).pred[:, 1])
    last = model.classifier_ffn[-1].weight
    assert torch.equal(last[1], before["classifier_ffn.8.weight"][1])


def test_the_output_of_another_task_is_left_out() -> None:
    """A classifier of two has one output, as a set of one label, but it means something else."""
    torch.manual_seed(2)
    source, model = create_model("ClassifierModel", **SMALL), model_of("ATP", seed=1)
    report = start_from(model, source, Start())  # type: ignore[arg-type]
    assert {"classifier_ffn.8.weight", "classifier_ffn.8.bias"} <= set(report.new)
    assert "classifier_ffn.2.weight" in report.loaded


def test_a_new_model_starts_at_the_frequencies() -> None:
    """Its head is little beside its last bias, so the mean prediction of each label is near."""
    model = model_of("ATP", "MG", "ZN")
    model.start_at([0.5, 0.02, 0.0])
    assert model.classifier_ffn[-1].bias.sigmoid().tolist() == pytest.approx([0.5, 0.02, 1e-3])
    mean = model.infer(joined(some_complexes(4))).pred.mean(0)
    assert mean[0] > mean[1] > mean[2]
