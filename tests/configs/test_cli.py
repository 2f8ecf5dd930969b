"""The command line: every published flag works, and every fault is named in one line."""

import re
from pathlib import Path

import pytest

from configs.cli import parse, read_yaml
from configs.errors import ConfigError
from configs.schema import TASKS, RunConfig, from_flat

CONFIGS = Path(__file__).parents[2] / "configs"

# The published launch scripts' flags, with values of theirs.
PUBLISHED = """
--train_set a --valid_set b --train_set2 c --valid_set2 d --train_set3 e --valid_set3 f --task pretrain_torsion
--num_classifier_classes 3 --lr 1e-4 --final_lr 1e-6 --warmup_epochs 1 --warmup_start_lr 1e-5 --warmup_end_lr 1e-3
--cycle_steps 100000 --max_epoch 10 --patience -1 --grad_clip 1.0 --dropout 0.1 --batch_size 16 --valid_batch_size 8
--max_n_vertex_per_gpu 1000 --max_n_vertex_per_item 256 --valid_max_n_vertex_per_gpu 1000 --balanced_sampler --shuffle
--save_dir runs --save_topk 3 --num_workers 4 --seed 7 --gpus 0 1 --local_rank -1 --atom_hidden_size 32
--block_hidden_size 32 --edge_size 32 --k_neighbors 8 --n_layers 4 --bottom_global_message_passing
--global_message_passing --fragmentation_method PS_300 --atom_noise 1 --translation_noise 1 --rotation_noise 0.25
--torsion_noise 0.5 --max_rotation 0.5 --atom_weight 1 --tr_weight 1 --rot_weight 0.1 --tor_weight 1 --mask_weight 1
--mask_proportion 0.1 --noisy_nodes_weight 0 --modality_embedding --pretrain_ckpt x --pretrain_config y
--pretrain_weights z --pretrain_state s --partial_finetune --pred_dropout 0.1 --pred_nonlinearity gelu
--num_pred_layers 3 --pred_hidden_size 32 --num_projector_layers 3 --projector_hidden_size 256 --projector_dropout 0.0
--use_wandb --use_raytune --run_name test
""".split()


LABELLED = ("PDBBind", "regression", "binary_classifier", "multiclass_classifier", "multilabel")


def test_every_published_flag_is_accepted() -> None:
    run = parse(PUBLISHED)
    assert (run.gpus, run.data.shuffle, run.train.lr, run.train.patience) == ((0, 1), True, 1e-4, -1)
    assert run.head.pred_nonlinearity == "gelu" and run.encoder.modality_embedding
    assert parse(["--block_embedding_size", "8"]).block_embedding.used
    assert parse(["--block_embedding0_size", "8", "--block_embedding1_size", "4"]).block_embedding.used


def test_a_task_leaves_out_the_noise_that_is_not_its_own() -> None:
    everything = "--torsion_noise 0.5 --mask_proportion 0.1 --atom_noise 0.2 --task".split()
    left = {task: parse([*everything, task]).noise for task in TASKS}
    assert {task: (n.torsion_noise > 0, n.mask_proportion > 0, n.atom_noise > 0) for task, n in left.items()} == {
        "pretrain_torsion": (True, False, True),
        "pretrain_torsion_masking": (True, True, True),
        "pretrain_gaussian": (False, True, True),
        "masking": (False, True, False),
        **dict.fromkeys(LABELLED, (False, False, False)),
        "prot_interface": (False, False, False),
    }


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--task masking", "--mask_proportion: must be above 0 for --task masking"),
        ("--task regression --noisy_nodes_weight 0.1", "--noisy_nodes_weight: is not available for --task regression"),
        ("--task regression --block_embedding_size 8", "--block_embedding_size: is not available"),
        ("--task PDBBind --temperature 0", "--temperature: must be kelvin"),
    ],
)
def test_what_a_task_cannot_do_is_refused(argv: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        parse(argv.split())
    except ConfigError as error:
        said = str(error)
    except SystemExit:
        said = " ".join(re.sub("[│╭╰─╮╯]", " ", "".join(capsys.readouterr())).split())
    assert message in said


def test_spellings_of_values() -> None:
    assert parse(["--gpu", "-1"]).gpus == parse(["--gpus", "-1"]).gpus == (-1,)
    assert parse(["--gpus", "-1", "-1"]).gpus == (-1, -1)
    assert not parse(["--shuffle", "--no_shuffle"]).data.shuffle
    assert parse(["--train-set", "x"]).data.train_set == "x"
    assert parse(["--lr=1e-4", "--grad_clip", "None"]).train.grad_clip is None


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--lrr 1", "Unrecognized options: --lrr, 1"),
        ("--max_epochs 1", "Perhaps you meant: --max_epoch INT"),
        ("--lr abc", "Error parsing --lr: could not convert string to float: 'abc'"),
        ("--max_epoch 1.5", "Error parsing --max_epoch"),
        ("--shuffle perhaps", "Unrecognized options: perhaps"),
        ("--gpus zero", "Error parsing --gpu"),
        ("--padding none", "invalid choice 'none'"),
        ("--lr", "--lr"),
        ("--config", "argument --config: expected one argument"),
        ("runs", "Unrecognized options: runs"),
        ("--mask_proportion 1.5", "--mask_proportion: must be below 1, got 1.5"),
        ("--lr nan", "--lr: must be a positive number, got nan"),
        ("--max_epoch 0", "--max_epoch: must be a finite number of at least 1, got 0"),
        ("--save_every_steps 0", "--save_every_steps: must be a finite number of at least 1, got 0"),
        ("--task pretrain_torsionn", "unknown task 'pretrain_torsionn' (did you mean 'pretrain_torsion'?)"),
        ("--pretrain_config x", "--pretrain_weights: must be given together with --pretrain_config"),
    ],
)
def test_faults_are_named(argv: str, message: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as left:
        parse(argv.split())
    assert left.value.code == 2
    shown = capsys.readouterr()
    text = " ".join((shown.out + shown.err).replace("│", " ").split())
    assert message in text


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"--config, nowhere\.yaml: no such file"):
        parse(["--config", "nowhere.yaml"])


def write(folder: Path, text: str) -> str:
    path = folder / "run.yaml"
    path.write_text(text)
    return str(path)


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    run = parse(["--config", write(tmp_path, "lr: 0.5\nmax_epoch: 7\nshuffle: true\n"), "--lr", "0.1", "--no_shuffle"])
    assert (run.train.lr, run.train.max_epoch, run.data.shuffle) == (0.1, 7, False)


def test_yaml_numbers_that_yaml_reads_as_text(tmp_path: Path) -> None:
    path = write(tmp_path, "lr: 1e-4\nfinal_lr: 1E-6\ncycle_steps: 1e5\ngpus: -1\n")
    assert isinstance(read_yaml(path)["lr"], str)
    run = parse(["--config", path])
    assert (run.train.lr, run.train.final_lr, run.train.cycle_steps, run.gpus) == (1e-4, 1e-6, 100_000, (-1,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rate: 1\n", r"run\.yaml: unknown option 'learning_rate'"),
        ("k_neighbours: 3\n", r"run\.yaml: unknown option 'k_neighbours' \(did you mean 'k_neighbors'\?\)"),
        ("lr: fast\n", r"run\.yaml: --lr must be a number, got 'fast'"),
        ("shuffle: 3\n", r"run\.yaml: --shuffle must be true or false, got 3"),
        ("batch_size: true\n", r"run\.yaml: --batch_size must be a whole number, got True"),
        ("batch_size: null\n", r"run\.yaml: --batch_size must be a whole number, got None"),
        ("train_set: [a, b]\n", r"run\.yaml: --train_set must be text"),
        ("- lr\n", r"run\.yaml: must be a mapping of option names to values"),
        ("lr: [1\n", r"run\.yaml: is not YAML"),
        ("3: 4\n", r"run\.yaml: unknown option 3"),
    ],
)
def test_faults_of_a_file_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(["--config", write(tmp_path, text)])


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_configurations_are_valid(path: Path) -> None:
    run = parse(["--config", str(path)])
    assert run.data.train_set is None, "data sets are the user's"
    assert run.train.lr_schedule != "cosine" or run.train.final_lr is not None


def test_the_published_recipe() -> None:
    run = parse(["--config", str(CONFIGS / "pretrain.yaml")])
    encoder, noise, train = run.encoder, run.noise, run.train
    assert (encoder.atom_hidden_size, encoder.edge_size, encoder.n_layers, encoder.k_neighbors) == (32, 32, 4, 8)
    assert (run.data.max_n_vertex_per_gpu, run.data.max_n_vertex_per_item) == (1000, 256)
    assert (train.lr, train.final_lr) == (1e-4, 1e-6)
    assert (noise.mask_proportion, noise.torsion_noise, noise.translation_noise) == (0.1, 0.5, 1.0)
    assert (noise.rotation_noise, noise.max_rotation, noise.rot_weight) == (0.25, 0.5, 0.1)


def test_a_saved_run_repeats_itself() -> None:
    run = parse(PUBLISHED)
    assert from_flat(run.flat()) == run
    assert from_flat(RunConfig().flat()) == RunConfig()


def test_help_lists_every_option(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as left:
        parse(["--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    missing = [name for name in RunConfig().flat() if f"--{name.replace('_', '-')}" not in shown.replace("_", "-")]
    assert missing == [] and "--config FILE" in shown
