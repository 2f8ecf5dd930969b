"""Every task with the least of everything: items of a few atoms, models of a few numbers, the options of each row."""

import json
from pathlib import Path
from typing import Any

import numpy as np

import train
from configs.cli import given_options, parse
from data.item import Item
from data.shards import write_part
from data.vocab import load_vocabulary
from trainers import Trainer

WIDTH = 5
NOISE = "--translation_noise 1 --rotation_noise 0.25 --torsion_noise 0.5 --mask_proportion 0.3 --rot_weight 0.1"
COMPOSITION = "--model composition --hidden_dims 32,16 --dropout 0 --transformer_dropout 0"
# row -> (data set, options)
ROWS: dict[str, tuple[str, str]] = {
    "pretrain_torsion": ("values", f"--task pretrain_torsion {NOISE}"),
    "pretrain_gaussian": ("values", f"--task pretrain_gaussian --atom_noise 0.5 {NOISE}"),
    "pretrain_torsion_masking": ("values", f"--task pretrain_torsion_masking {NOISE}"),
    "pretrain_vectors": ("values", f"--task pretrain_torsion_masking --block_embedding_size {WIDTH} {NOISE}"),
    "pretrain_two_vectors": (
        "values",
        f"--task pretrain_torsion_masking --block_embedding0_size {WIDTH} --block_embedding1_size {WIDTH} {NOISE}",
    ),
    "PDBBind": ("values", "--task PDBBind"),
    "PDBBind_vectors": ("values", f"--task PDBBind --block_embedding_size {WIDTH}"),
    "regression": ("values", "--task regression"),
    "regression_targets": ("targets", "--task regression"),
    "binary_classifier": ("two_classes", "--task binary_classifier --class_weights balanced"),
    "multiclass_classifier": ("classes", "--task multiclass_classifier --class_weights balanced"),
    "multilabel": ("sets", "--task multilabel --min_obs_per_ligand 0 --label_loss asl"),
    "masking": ("values", "--task masking --mask_proportion 0.4"),
    "prot_interface": ("values", "--task prot_interface"),
    "composition": ("values", f"--task PDBBind {COMPOSITION} --block_encoding hash"),
    "composition_targets": ("targets", f"--task regression {COMPOSITION} --block_encoding embed"),
    "composition_two_classes": ("two_classes", f"--task binary_classifier {COMPOSITION} --block_encoding rank_pool"),
    "composition_classes": (
        "classes",
        f"--task multiclass_classifier {COMPOSITION} --block_encoding transformer --n_attention_layers 1",
    ),
    "composition_mixed": (
        "mixed",
        f"--task regression {COMPOSITION} --target_types a:classification,b:regression,c:regression",
    ),
}
GEOMETRIC = [row for row in ROWS if not row.startswith("composition")]
MODELS = {
    "pretrain_torsion": "DenoisePretrainModel",
    "pretrain_gaussian": "DenoisePretrainModel",
    "pretrain_torsion_masking": "DenoisePretrainModel",
    "pretrain_vectors": "DenoisePretrainModelWithBlockEmbedding",
    "pretrain_two_vectors": "DenoisePretrainModelWithBlockEmbedding",
    "PDBBind": "AffinityPredictor",
    "PDBBind_vectors": "AffinityPredictor",
    "regression": "RegressionPredictor",
    "regression_targets": "RegressionPredictor",
    "binary_classifier": "ClassifierModel",
    "multiclass_classifier": "MultiClassClassifierModel",
    "multilabel": "MultiLabelModel",
    "masking": "MaskedNodeModel",
    "prot_interface": "ProteinInterfaceModel",
    **dict.fromkeys((row for row in ROWS if row.startswith("composition")), "CompositionModel"),
}
SIZES = (
    "--atom_hidden_size 8 --block_hidden_size 8 --edge_size 4 --k_neighbors 3 --n_layers 1 --projector_hidden_size 4"
)
SIZES += " --global_message_passing"
PLAIN = "--fragmentation_method PS_300 --gpus -1 --no_progress --no_use_tensorboard --log_every 1"


def make_item(seed: int, **changes: Any) -> Item:
    """Blocks of four atoms, one rotatable bond each; segment 1 lies beside segment 0."""
    rng = np.random.default_rng(seed)
    n = 4 + seed % 3
    starts = np.arange(0, 4 * n, 4)
    segments = (np.arange(n) >= n // 2).astype("u1")
    centres = rng.normal(size=(n, 3)) * 3 + np.outer(segments, [5, 0, 0])
    item = Item(
        id=f"item{seed}",
        X=(np.repeat(centres, 4, axis=0) + rng.normal(size=(4 * n, 3))).astype("f4"),
        A=rng.integers(8, 12, 4 * n).astype("u1"),
        B=rng.integers(4, 10, n).astype("u2"),
        block_lengths=np.full(n, 4, "i4"),
        segment_ids=segments,
        modality=0,
        label=float(rng.normal() * 2 - 9),
        block_embeddings=rng.normal(size=(n, WIDTH)).astype("f4"),
        tor_bonds=np.stack([starts + 1, starts + 2], axis=1).astype("i4"),
        tor_depth=np.zeros(n, "u1"),
        tor_moved_lengths=np.ones(n, "i4"),
        tor_moved=(starts + 3).astype("i4"),
    )
    return item.with_(**changes)


def labelled(kind: str, seed: int) -> Item:
    """An item with the labels of a data set: values, targets (some missing), mixed, sets, two_classes, classes."""
    if kind == "targets":
        first = np.random.default_rng([seed, 1]).normal(size=3).astype("f4")
        first[seed % 3] = np.nan
        return make_item(seed, targets=first)
    if kind == "sets":
        sets = np.array([seed % 2, seed % 3 == 0, seed % 4 > 1, seed == 9], "f4")
        sets[seed % 3] = np.nan if seed > 5 else sets[seed % 3]
        return make_item(seed, targets=sets)
    if kind == "mixed":
        targets = np.random.default_rng([seed, 1]).normal(size=3).astype("f4")
        targets[0], targets[1 + seed % 2] = seed % 3, np.nan
        return make_item(seed, targets=targets)
    if kind in ("two_classes", "classes"):
        return make_item(seed, label=float(seed % {"two_classes": 2, "classes": 3}[kind]))
    return make_item(seed)


def make_data(folder: Path) -> None:
    """FOLDER/KIND/train of eight items and FOLDER/KIND/valid of six, of every kind."""
    vocabulary = load_vocabulary("PS_300")
    extra: dict[str, Any] = {name: {"targets": ["a", "b", "c"]} for name in ("targets", "mixed")}
    extra |= {"classes": {"classes": ["ion", "sugar", "drug"]}}
    extra |= {"sets": {"targets": ["ATP", "MG", "HEM", "ZN"]}}
    for kind in ("values", "targets", "mixed", "sets", "two_classes", "classes"):
        for part, seeds in (("train", range(8)), ("valid", range(8, 14))):
            items = [labelled(kind, seed) for seed in seeds]
            write_part(folder / kind / part, items, vocabulary.fingerprint, vocabulary="PS_300", extra=extra.get(kind))


def command(row: str, data: Path, save_dir: Path, more: str = SIZES, batch_size: int = 4) -> list[str]:
    """The command line of train.py for a row."""
    kind, options = ROWS[row]
    sets = ["--train_set", str(data / kind / "train"), "--valid_set", str(data / kind / "valid")]
    where = ["--save_dir", str(save_dir), "--batch_size", str(batch_size)]
    return [*sets, *where, *options.split(), *PLAIN.split(), *more.split()]


def run_row(row: str, data: Path, save_dir: Path, more: str = f"{SIZES} --max_epoch 1", batch_size: int = 4) -> Trainer:
    """Train a row and return its trainer."""
    words = command(row, data, save_dir, more, batch_size)
    return train.train(parse(words), given_options(words))


def history(trainer: Trainer) -> list[dict[str, Any]]:
    return json.loads((trainer.save_dir / "training_history.json").read_text())
