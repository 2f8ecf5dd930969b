"""Recorded outputs of the published program: small ones kept here, the others in the folder INTERFACE_PARITY names."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from models.persistence import load_weights_into, model_from_config, published_values

ROOT = Path(__file__).parent.parent.parent
KEPT = ROOT / "tests" / "fixtures" / "parity"
RECORDED = Path(os.environ.get("INTERFACE_PARITY", ROOT / "../shared/parity"))


def folder_of(name: str) -> Path:
    return KEPT / name.removeprefix("tiny/") if name.startswith("tiny/") else RECORDED / name


def weights_of(name: str) -> dict[str, Tensor]:
    """The complete state dict of a fixture: its own tensors, and the shared ones that it uses."""
    folder = folder_of(name)
    if name.startswith("tiny/"):
        return load_file(folder / "weights.safetensors")
    own = torch.load(folder / "weights.pt", weights_only=True)
    manifest = json.loads((RECORDED / "manifest.json").read_text())
    info = manifest["fixtures"][name]
    shared = torch.load(RECORDED / manifest["shared_file"], weights_only=True)
    unused = set(info.get("unused_shared_keys", []))
    state = {key: value.float() for key, value in own.items()}
    for prefix in info["prefixes_onto_shared"]:
        for key, value in shared.items():
            if key not in unused:
                state.setdefault(prefix + key, value.float())
    return state


def published_files(name: str, folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Write a recorded model as users have it: config.json and weights.pt."""
    config, state = json.loads((folder_of(name) / "config.json").read_text()), weights_of(name)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(state, folder / "weights.pt")
    return config, state


def recorded_model(name: str, padding: str = "batch") -> Any:
    """The fixture's model with the published behaviour, in evaluation mode."""
    values = json.loads((folder_of(name) / "config.json").read_text())
    state = weights_of(name)
    model = model_from_config(published_values(values, state, padding), name)  # type: ignore[arg-type]
    report = load_weights_into(model, state)
    assert not report.new, report
    assert not report.left_over, report
    return model.eval()


def recorded_batch(name: str, batch: str) -> tuple[dict[str, Tensor], dict[str, np.ndarray]]:
    """Inputs as tensors, and what the published program computed."""
    folder = folder_of(name)
    inputs = {key: torch.as_tensor(value) for key, value in np.load(folder / f"{batch}.npz").items()}
    return inputs, dict(np.load(folder / f"{batch}_outputs.npz"))


def single(batch: dict[str, Tensor], number: int) -> dict[str, Tensor]:
    """One graph of a batch as a batch of its own."""
    lengths = batch["lengths"].tolist()
    blocks = slice(sum(lengths[:number]), sum(lengths[: number + 1]))
    ends = batch["block_lengths"].cumsum(0)
    first = int(ends[blocks.start - 1]) if blocks.start else 0
    atoms = slice(first, int(ends[blocks.stop - 1]))
    graph = slice(number, number + 1)
    level = {"X": atoms, "A": atoms, "atom_score": atoms, "B": blocks, "block_lengths": blocks, "segment_ids": blocks}
    level |= {"masked_blocks": blocks, "block_embeddings": blocks}
    level |= dict.fromkeys(("lengths", "noisy_segment", "tr_eps", "tr_score", "rot_score", "atom_eps"), graph)
    level |= dict.fromkeys(("modality", "label"), graph)
    out = {name: batch[name][where] for name, where in level.items() if name in batch}
    if "tor_batch" in batch:
        own = batch["tor_batch"] == number
        out["tor_edges"], out["tor_score"] = batch["tor_edges"][:, own] - first, batch["tor_score"][own]
        out["tor_batch"] = torch.zeros(int(own.sum()), dtype=torch.long)
    if "masked_labels" in batch:
        before = int(batch["masked_blocks"][: blocks.start].sum())
        out["masked_labels"] = batch["masked_labels"][before : before + int(out["masked_blocks"].sum())]
    return out


def compare_gradients(model: torch.nn.Module, expected: dict[str, np.ndarray]) -> None:
    """The gradients of the parameters that were recorded, and the norm over all of them."""
    parameters = dict(model.named_parameters())
    names = [key.removeprefix("grad:") for key in expected if key.startswith("grad:")]
    assert names
    for name in names:
        gradient, wanted = parameters[name].grad, expected[f"grad:{name}"]
        assert gradient is not None
        assert np.linalg.norm(gradient.numpy() - wanted) <= 1e-4 * np.linalg.norm(wanted), name
    if "grad_norm_total" in expected:
        total = sum(float(p.grad.square().sum()) for p in parameters.values() if p.grad is not None) ** 0.5
        assert total == pytest.approx(float(expected["grad_norm_total"]), rel=1e-4)
