"""Every command that takes a model works on real complexes with a published checkpoint.

Users have such a checkpoint as a configuration and a file of weights, as a folder of both, or as a folder of ours that
`ligare convert` made: all three give the same files, byte by byte where these hold no paths.
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch

from configs.files import read_json
from models import create_model, load_published
from models.published import save_published
from scripts.main import COMMANDS, main
from scripts.shell_flags import flags_of
from tests.models.golden import KEPT, RECORDED, published_files

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("INTERFACE_DATA", ROOT.parent / "shared" / "data"))
DENOISING = KEPT / "DenoisePretrainModel"
INDEX = DATA / "ppi_affinity" / "interfaces.csv"
CHOSEN = ("1WQJ", "2DSQ", "3EQS", "3LNZ", "3UIG", "3UIH", "3UII", "4J2L")
SIZES = {"atom_hidden_size": 8, "block_hidden_size": 8, "edge_size": 4, "k_neighbors": 3, "n_layers": 1}
RECORDED_PREDICTORS = [
    name
    for name in ("AffinityPredictor", "ClassifierModel", "MultiClassClassifierModel", "RegressionPredictor")
    if (RECORDED / name / "config.json").is_file()
]
FILE = "{data}/ppi_affinity/pdb/1wqj.pdb.gz --chain1 I --chain2 B"
RUN = "--translation_noise 1 --rotation_noise 0.25 --torsion_noise 0.5 --gpus -1 --max_epoch 1 "
RUN += "--max_n_vertex_per_item 24 --no_progress --no_use_tensorboard --final_report"
START = "--pretrain_config {denoising}/config.json --pretrain_weights {denoising}/weights.safetensors"

FORMS = ("files", "folder", "converted")

# Commands and how they are called; {encoder} and {predictor} stand for a model in one of its three forms.
CALLS = {
    "embed": "embed {index} --root {data} {encoder} --out {out}/made.parquet --representations h_block z_graph "
    "--rule mean_std_global",
    "explain": f"explain {FILE} {{encoder}} --out {{out}}/made.csv --pages {{out}} --structures {{out}}",
    "predict": "predict {index} --root {data} {predictor} --out {out}/made.csv",
    "explain a prediction": f"explain {FILE} {{predictor}} --target prediction --out {{out}}/made.csv",
    "check-explanations": "check-explanations {shards} {encoder} --items 1 --out {out}/made.md",
    "atlas": "atlas build {index} --root {data} {encoder} --atlas {out}/atlas",
    "atlas query": f"atlas query {FILE} {{encoder}} --atlas {{kept}}/atlas --out {{out}}/made.csv",
}
# Those whose model is a folder: of published files, or of ours.
CALLS_OF_FOLDERS = {
    "fit-affinity": "fit-affinity {shards} --checkpoint {folder} --out {out} --folds 2 --repeats 1",
    "baselines": "baselines {split} --task regression --checkpoint {folder} --out {out} --bootstrap 0",
}
ELSEWHERE = {
    "app": "test_app_published.py",
    "convert": "here, and test_convert_checkpoint.py",
    "train": "here, and test_task_contract.py",
    "evaluate-pretraining": "here, on the run of train",
    "report": "here, on the run of train",
    "doctor": "test_console.py: it compares a published checkpoint with its recorded numbers",
}
WITHOUT_MODEL = {
    *("process", "import", "pockets", "synthesize", "large-set", "inspect", "split", "vocabulary", "fetch"),
    *("collect-results", "plot", "completion", "quickstart", "planted", "cross-validate"),
}
"""Cross-validate hands all options on to train; planted and quickstart make their own data and models."""


class Real(NamedTuple):
    """Real complexes, and published models: folders `encoder`, `predictor`, `denoising`, and theirs as ours."""

    folder: Path

    def words(self, call: str, form: str, out: Path) -> list[str]:
        """The words of a command line; form: files, folder or converted."""

        def model(name: str) -> str:
            folder = self.folder / (f"{name}_converted" if form == "converted" else name)
            if form != "files":
                return f"--checkpoint {folder}"
            return f"--config {folder}/config.json --weights {folder}/weights.pt"

        places = {name: self.folder / name for name in ("shards", "split", "kept")}
        places |= {
            "index": self.folder / "index.csv",
            "data": DATA,
            "out": out,
            "denoising": DENOISING,
        }
        places["folder"] = self.folder / ("encoder_converted" if form == "converted" else "encoder")
        return call.format(**places, encoder=model("encoder"), predictor=model("predictor")).split()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Real:
    if not INDEX.is_file():
        pytest.skip("no real data (INTERFACE_DATA)")
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("published")
    published_files("tiny/PredictionModel", folder / "encoder")
    torch.manual_seed(0)
    save_published(create_model("AffinityPredictor", **SIZES, fragmentation_method="PS_300"), folder / "predictor")
    for name in ("encoder", "predictor"):
        assert main(["convert", str(folder / name), "--out_path", str(folder / f"{name}_converted")]) == 0
    rows = pd.read_csv(INDEX, dtype=str, keep_default_na=False)
    rows = rows[rows["pdb_id"].str.split("_").str[1].isin(CHOSEN)]
    assert len(rows) == len(CHOSEN)
    rows.to_csv(folder / "index.csv", index=False)
    made = ["--data_index_file", str(folder / "index.csv"), "--root", str(DATA), "--n_jobs", "1"]
    assert main(["process", *made, "--out_path", str(folder / "shards")]) == 0
    parts = ["--by", "group", "--test_fraction", "0.4", "--valid_fraction", "0.2", "--out_path", str(folder / "split")]
    assert main(["split", str(folder / "shards"), *parts]) == 0
    found = Real(folder)
    assert main(found.words(CALLS["atlas"], "files", folder / "kept")) == 0
    return found


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder by name."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.real_data
@pytest.mark.parametrize("name", CALLS)
def test_all_forms_of_a_published_checkpoint_make_the_same_files(real: Real, name: str, tmp_path: Path) -> None:
    made = []
    for form in FORMS if name == "embed" else ("files", "converted"):  # the options of all are read by one function
        out = tmp_path / form
        out.mkdir()
        assert main([*real.words(CALLS[name], form, out), "--device", "cpu"]) == 0
        made.append(contents(out))
    assert made[0]
    assert all(one == made[0] for one in made)


@pytest.mark.real_data
@pytest.mark.parametrize("name", CALLS_OF_FOLDERS)
@pytest.mark.filterwarnings("ignore")  # of scikit-learn: few items
def test_regressors_of_its_vectors_are_the_same(real: Real, name: str, tmp_path: Path) -> None:
    scores = []
    for form in ("folder", "converted"):
        assert main(real.words(CALLS_OF_FOLDERS[name], form, tmp_path / form)) == 0
        (found,) = {*(tmp_path / form).glob("scores.json"), *(tmp_path / form).glob("baselines.json")}
        scores.append(found.read_text())
    assert scores[0] == scores[1]
    assert "embedding" in scores[0] or "frozen representation" in scores[0]


@pytest.mark.real_data
def test_a_run_starts_from_it_and_is_evaluated_and_reported(real: Real, tmp_path: Path) -> None:
    sets = f"--train_set {real.folder}/split/train --valid_set {real.folder}/split/valid"
    words = real.words(f"train --task pretrain_torsion {sets} --save_dir {{out}} {START} {RUN}", "files", tmp_path)
    assert main(words) == 0
    run = tmp_path / "version_0"
    assert main(["report", str(run)]) == 0
    page = next(run.rglob("*.html")).read_text()
    assert str(DENOISING) in page
    files = ["--config", str(DENOISING / "config.json"), "--weights", str(DENOISING / "weights.safetensors")]
    assert main(["convert", *files, "--out_path", str(tmp_path / "ours")]) == 0
    found = []
    for folder in (DENOISING, tmp_path / "ours"):
        out = tmp_path / f"evaluation_of_{folder.name}"
        words = ["evaluate-pretraining", str(run), "--checkpoint", str(folder), "--draws", "1", "--out", str(out)]
        assert main(words) == 0
        found.append(read_json(out / "evaluation.json")["losses"])
    assert found[0] == found[1] and {row["part"] for row in found[0]} >= {"translation", "rotation", "torsion"}


@pytest.mark.real_data
@pytest.mark.parametrize("name", RECORDED_PREDICTORS)
def test_recorded_models_answer_for_real_complexes(real: Real, name: str, tmp_path: Path) -> None:
    published_files(name, tmp_path / "model")
    files = [str(tmp_path / "model" / file) for file in ("config.json", "weights.pt")]
    out = tmp_path / "found.csv"
    words = ["predict", *real.words(FILE, "files", tmp_path), "--config", files[0], "--weights", files[1]]
    assert main([*words, "--out", str(out), "--device", "cpu"]) == 0
    (row,) = pd.read_csv(out).to_dict("records")
    values = [value for key, value in row.items() if key.startswith(("prediction", "probability"))]
    assert values and np.isfinite(values).all()
    assert load_published(*files).embed(DATA / "ppi_affinity/pdb/1wqj.pdb.gz", chain1="I", chain2="B").shape[0] == 1


def test_no_command_is_forgotten() -> None:
    tested = {name.split()[0] for name in (*CALLS, *CALLS_OF_FOLDERS)} | set(ELSEWHERE)
    assert tested | WITHOUT_MODEL == set(COMMANDS) and not tested & WITHOUT_MODEL
    for name in WITHOUT_MODEL:
        named = {flag for one in flags_of(name) for flag in one.names}
        assert not named & {"--checkpoint", "--weights", "--predictor"}, name
