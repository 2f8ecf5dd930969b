"""Loaders give the same batches with any number of workers, go on inside an epoch, and import no structure reader."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from item_factory import random_item

from configs.errors import ConfigError, DataError
from configs.schema import DataOptions, NoiseOptions, RunConfig, TrainOptions
from data.loader import make_loaders
from data.shards import write_part
from data.vocab import load_vocabulary

ROOT = Path(__file__).parents[2]
VOCABULARY = load_vocabulary("PS_300")
NOISE = NoiseOptions(translation_noise=1, rotation_noise=0.25, torsion_noise=0.5, mask_proportion=0.1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    items = [random_item(i, 4 + i % 20) for i in range(30)]
    return str(write_part(tmp_path_factory.mktemp("set"), items, VOCABULARY.fingerprint))


def run(folder, seed=42, **options):
    data = DataOptions(**{"train_set": folder, "batch_size": 8, "shuffle": True, **options})
    return RunConfig(data=data, noise=NOISE, train=TrainOptions(seed=seed))


def content(loader, epoch=0, start=0):
    loader.batch_sampler.set_epoch(epoch)
    loader.batch_sampler.start_batch = start
    return [{key: batch[key] for key in batch.keys()} for batch in loader]  # noqa: SIM118


def assert_equal(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second):
        assert a.keys() == b.keys()
        assert a["id"] == b["id"]
        for key in a.keys() - {"id", "sizes"}:
            assert torch.equal(a[key], b[key]) or a[key].isnan().any(), key


def test_workers_do_not_change_a_batch_and_epochs_can_be_resumed_with_them(folder):
    alone, _ = make_loaders(run(folder), vocabulary=VOCABULARY)
    shared, _ = make_loaders(run(folder, num_workers=2), vocabulary=VOCABULARY)
    for epoch in (0, 1):
        assert_equal(content(alone, epoch), content(shared, epoch))
    assert_equal(content(alone, 1)[2:], content(shared, 1, start=2))
    assert_equal(content(alone, 2), content(shared, 2))


def test_a_new_epoch_has_new_noise_and_order(folder):
    loader, _ = make_loaders(run(folder))
    first, second = content(loader, 0), content(loader, 1)
    assert [batch["id"] for batch in first] != [batch["id"] for batch in second]
    position = {identifier: batch["tr_score"][i] for batch in first for i, identifier in enumerate(batch["id"])}
    for batch in second:
        for i, identifier in enumerate(batch["id"]):
            assert not torch.equal(batch["tr_score"][i], position[identifier])


def test_two_ranks_together_have_the_batches_of_one(folder):
    options = {"max_n_vertex_per_gpu": 60}
    one = content(make_loaders(run(folder, **options))[0], 1)
    ranks = [content(make_loaders(run(folder, **options), rank, 2)[0], 1) for rank in (0, 1)]
    assert len(ranks[0]) == len(ranks[1])
    together = [batch for step in zip(*ranks) for batch in step]
    assert sum([batch["id"] for batch in together], []) == sum([batch["id"] for batch in one], [])  # noqa: RUF017
    alike = [(a, b) for a in one for b in together if a["id"] == b["id"]]
    assert len(alike) >= len(one) - 1
    assert_equal([a for a, _ in alike], [b for _, b in alike])


def test_items_are_cropped_and_batches_stay_in_their_budget(folder):
    train, _ = make_loaders(run(folder, max_n_vertex_per_gpu=40, max_n_vertex_per_item=10))
    for batch in content(train):
        ordinary = int((batch["B"] != 3).sum())
        assert ordinary <= 40
        assert max(batch["lengths"]) <= 10 + 2


def test_validation_sees_every_item_once_in_order_with_the_same_noise(folder):
    _, valid = make_loaders(run(folder, valid_set=folder, valid_batch_size=7))
    first, later = content(valid, 0), content(valid, 5)
    assert [i for batch in first for i in batch["id"]] == [f"{i:04d}_A_B" for i in range(30)]
    assert_equal(first, later)


def test_several_sets_are_mixed(folder, tmp_path):
    other = write_part(tmp_path, [random_item(100 + i) for i in range(4)], VOCABULARY.fingerprint)
    train, valid = make_loaders(run(folder, train_set2=str(other)), vocabulary=VOCABULARY)
    assert valid is None
    assert sum(len(batch["id"]) for batch in content(train)) == 34


def test_a_training_set_is_required():
    with pytest.raises(ConfigError, match="--train_set: is required: a folder of shards"):
        make_loaders(RunConfig())


def test_shards_of_another_vocabulary_are_refused(folder):
    with pytest.raises(DataError, match=r"check --fragmentation_method, or process the structures again"):
        make_loaders(run(folder), vocabulary=load_vocabulary(None))


def test_loading_imports_no_structure_reader(folder):
    code = f"""
import sys
from configs.schema import DataOptions, RunConfig
from data.loader import make_loaders
train, _ = make_loaders(RunConfig(data=DataOptions(train_set={folder!r})))
next(iter(train))
print(*sorted({{"rdkit", "gemmi", "Bio", "matplotlib"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
