"""The page in use: a server of its own, asked over HTTP, and clicked on in a real browser where there is one."""

import gzip
import json
import os
import re
import shutil
import signal
import socket
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from page_server import LARGEST, Server, two_chains

from configs.errors import CheckpointError
from data.synthetic import make_items
from models import create_model, from_pretrained, save_pretrained
from models.answers import Answer
from scripts import app
from scripts.page import work

pytest.importorskip("uvicorn", reason="the page needs ligare[app]")
pytest.importorskip("starlette", reason="the page needs ligare[app]")

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("INTERFACE_DATA", ROOT.parent / "shared" / "data"))
REAL = DATA / "pretrain" / "structures" / "11as.pdb.gz"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
needs_data = pytest.mark.skipif(not REAL.is_file(), reason="no real data (INTERFACE_DATA)")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With a tiny predictor, and the vectors of synthetic complexes to compare with."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("app")
    sizes = {"atom_hidden_size": 8, "block_hidden_size": 8, "edge_size": 4, "k_neighbors": 3, "n_layers": 1}
    predictor = create_model("AffinityPredictor", **sizes, num_block_types=452, fragmentation_method="PS_300")
    save_pretrained(predictor, folder / "predictor")
    frame = from_pretrained(app.SHIPPED).embed(make_items(5), "h_graph").reset_index()
    vectors = frame["h_graph"].apply(lambda vector: [float(value) for value in vector])
    for number in range(len(vectors.iloc[0])):
        frame[f"h_graph_{number}"] = [vector[number] for vector in vectors]
    frame.drop(columns="h_graph").to_csv(folder / "vectors.csv", index=False)
    more = ["--max_upload", str(LARGEST), "--seconds", "100", "--top", "3", "--waiting", "2"]
    found = Server("--predictor", str(folder / "predictor"), "--atlas", str(folder / "vectors.csv"), *more)
    yield found
    assert found.end() == 128 + signal.SIGTERM


def test_a_structure_is_told_and_analysed(server: Server) -> None:
    status, seen = server.look("my pair.pdb", two_chains().encode())
    assert status == 200
    assert [chain["name"] for chain in seen["chains"]] == ["A", "B"]
    assert [ligand["text"] for ligand in seen["ligands"]] == ["ZN 101 in chain A"]
    assert seen["interfaces"][0]["chain1"] == "A" and seen["interfaces"][0]["chain2"] == "B"
    chosen = {"token": seen["token"], "file": seen["file"], "chain1": "A", "chain2": "B"}
    status, result = server.analyse(**chosen, target="prediction")
    assert status == 200, result
    assert result["blocks"] == 16 and result["kind"] == "PP" and result["sides"] == "chain A and chain B"
    assert len(result["neighbours"]) == 3 and len(result["vector"]) == 16
    cosines = [float(one["cosine"]) for one in result["neighbours"]]
    assert cosines == sorted(cosines, reverse=True) and cosines[0] <= 1
    assert result["predictions"][0]["name"] == "prediction"
    assert [block["rank"] for block in result["top"]] == [1, 2, 3]
    _, table = server.ask(f"results/{seen['token']}/scores.csv")
    assert table.count("\n") == 17 and "GLY" in table
    assert "my_pair" in server.ask(f"results/{seen['token']}/view.html")[1]
    ion = {**chosen, "chain2": "A", "lig_code": "ZN", "lig_resi": "101"}
    told = server.analyse(**ion)[1]
    assert (told["kind"], told["sides"]) == ("Pion", "chain A and ZN 101 in chain A")


def test_wrong_choices_list_what_there_is(server: Server) -> None:
    _, seen = server.look("x.pdb", two_chains().encode())
    chosen = {"token": seen["token"], "file": seen["file"], "chain1": "A"}
    assert server.analyse(**chosen, chain2="Q") == (400, {"error": "x.pdb: has no chain 'Q' (its chains: A, B)"})
    status, said = server.analyse(**chosen, chain2="A", lig_code="ATP")
    assert status == 400 and "its ligands: ZN 101 in chain A" in said["error"]
    assert server.analyse(**chosen | {"chain1": ""})[0] == 400
    assert "target" in server.analyse(**chosen, chain2="B", target="mood")[1]["error"]


def test_a_ligand_file_is_side_2(server: Server) -> None:
    _, seen = server.look("x.pdb", two_chains().encode())
    ethanol = "\n  made by hand\n\n  3  2  0  0  0  0  0  0  0  0999 V2000\n"
    ethanol += "".join(f"{3.0 + 1.5 * n:10.4f}{7.5:10.4f}{1.0 - n % 2:10.4f} {e}   0  0\n" for n, e in enumerate("CCO"))
    ethanol += "  1  2  1  0\n  2  3  1  0\nM  END\n$$$$\n"
    status, stored = server.ask(f"ligand?token={seen['token']}&name=ethanol.sdf", ethanol.encode())
    assert (status, stored) == (200, {"file": "ethanol.sdf"})
    order = {"token": seen["token"], "file": seen["file"], "chain1": "B", "ligand": "ethanol.sdf"}
    status, result = server.analyse(**order)
    assert status == 200, result
    assert result["kind"] == "PL"


def test_bad_uploads_are_refused_and_the_next_one_works(server: Server) -> None:
    bad = {
        "noise.pdb": bytes(range(256)) * 40,
        "words.cif": b"data_x\nloop_\n_atom_site.id\n",
        "cut.pdb.gz": b"\x1f\x8b\x08\x00\x00",
        "empty.pdb": b"",
        "picture.png": b"x",
        "": b"x",
    }
    for name, body in bad.items():
        status, said = server.look(name, body)
        assert status == 400 and said["error"], name
        assert "Traceback" not in said["error"] and "ligare-app" not in said["error"]
    status, said = server.look("large.pdb", b"x" * (LARGEST + 1))
    assert status == 413 and "1 MB" in said["error"]
    assert server.look("../../x.pdb", two_chains().encode())[1]["file"] == "x.pdb"


def test_what_unpacks_to_too_much_is_refused(server: Server) -> None:
    status, said = server.look("bomb.pdb.gz", gzip.compress(bytes(64 * 2**20), 9))
    assert status == 400 and "bomb.pdb.gz" in said["error"] and "ligare-app" not in said["error"], said


def test_a_structure_without_an_interface_is_told(server: Server) -> None:
    alone = "\n".join(line for line in two_chains().splitlines() if line[21:22] != "B" and "ZN" not in line)
    status, seen = server.look("alone.pdb", f"{alone}\n".encode())
    assert status == 200 and seen["interfaces"] == [] and len(seen["chains"]) == 1
    status, said = server.analyse(token=seen["token"], file=seen["file"], chain1="A", chain2="A")
    assert status == 400 and "chain" in said["error"]


def test_orders_at_the_same_time_get_their_own_answers(server: Server) -> None:
    texts = [two_chains().replace(" A", f" {name}") for name in "CDE"]

    def both(text: str) -> tuple[list[str], Any]:
        _, seen = server.look("x.pdb", text.encode())
        chains = [chain["name"] for chain in seen["chains"]]
        order = {"token": seen["token"], "file": "x.pdb", "chain1": chains[0], "chain2": chains[1]}
        return chains, server.analyse(**order)

    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(both, texts))
    for name, (chains, (status, result)) in zip("CDE", found):
        assert chains == [name, "B"] and status == 200, result
        assert {block["name"][0] for block in result["top"]} <= {name, "B"}


@pytest.mark.real_data
@pytest.mark.skipif(not (DATA / "malformed").is_dir(), reason="no real data (INTERFACE_DATA)")
def test_malformed_files_are_survived(server: Server) -> None:
    files = sorted(path for path in (DATA / "malformed").rglob("*.*") if path.suffix != ".csv")[::4]
    assert len(files) >= 15
    for path in files:
        status, said = server.look(path.name, path.read_bytes()[:LARGEST])
        assert status == 200 or (status == 400 and said["error"]), path
    assert server.look("x.pdb", two_chains().encode())[0] == 200


def test_nothing_is_given_to_other_sites_or_guessed(server: Server) -> None:
    _, seen = server.look("x.pdb", two_chains().encode())
    order = json.dumps({"token": seen["token"], "file": "x.pdb", "chain1": "A", "chain2": "B"}).encode()
    request = urllib.request.Request(f"{server.address}/analyse", order)  # as a form of another site would send it
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=60)
    assert server.ask("", Host="evil.example")[0] == 400
    for path in ("results/x/scores.csv", f"results/{seen['token']}/x.pdb", f"results/{seen['token']}/..%2Fx.pdb"):
        assert server.ask(path)[0] == 404
    assert server.analyse(token=seen["token"], file="../x.pdb", chain1="A")[0] == 404
    assert server.analyse(token="../..", file="x.pdb", chain1="A")[0] == 404
    assert server.ask("analyse", b"[1]")[0] == 400
    assert server.ask("analyse", b"[" * 50_000)[0] == 400
    with urllib.request.urlopen(f"{server.address}/", timeout=60) as page:
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert not re.search(r"https?://", page.read().decode())


@needs_data
@pytest.mark.real_data
@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
def test_a_browser_uploads_and_sees_the_result(server: Server, tmp_path: Path) -> None:
    api = pytest.importorskip("playwright.sync_api", reason="no Playwright")
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page()
        asked: list[str] = []
        errors: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        # Whatever is not this server can't be reached, as on a machine without a network.
        page.route(lambda url: not url.startswith((server.address, "data:")), lambda route: route.abort())
        page.goto(server.address)
        page.set_input_files("#structure", files=[{"name": "bad.pdb", "mimeType": "", "buffer": b"<html>\x00</html>"}])
        page.wait_for_selector("#message.wrong", timeout=60_000)
        assert "bad.pdb" in page.inner_text("#message")
        page.set_input_files("#structure", str(REAL))
        page.wait_for_selector("#choose:not([disabled])", timeout=60_000)
        assert page.locator("#found option").all_inner_texts()[:2] == ["A_B (PP)", "A_A331-ASN (PL)"]
        page.select_option("#found", "1")
        assert page.eval_on_selector("#side2", "node => node.value") == "ligand:0"
        page.click("#go")
        page.wait_for_selector("#results:not([hidden])", timeout=120_000)
        view = page.frame_locator("#view")
        view.locator(".bar").first.wait_for(timeout=60_000)
        assert "ASN 331" in view.locator("#bars").inner_text()
        assert page.locator("#neighbours tr").count() == 4 and page.locator("#predictions tr").count() >= 1
        with page.expect_download() as download:
            page.click("text=Download scores.csv")
        assert Path(download.value.path()).read_text().count("\n") > 10
        picture = page.locator("#view").screenshot(path=tmp_path / "view.png")
        assert len(set(picture)) > 100
        page.set_viewport_size({"width": 400, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        page.set_input_files("#structure", files=[{"name": "bad.cif", "mimeType": "", "buffer": b"data_x"}])
        page.wait_for_selector("#message.wrong", timeout=60_000)
        box = page.locator("#message").bounding_box()
        assert box and box["y"] >= 0 and box["y"] + box["height"] <= 700  # seen without scrolling
        browser.close()
    assert not errors
    assert {urllib.parse.urlsplit(url).netloc for url in asked if not url.startswith("data:")} == {
        urllib.parse.urlsplit(server.address).netloc
    }


def test_a_model_without_vectors_is_refused_at_the_start() -> None:
    with pytest.raises(CheckpointError, match="affinity_ppi: is a KernelModel, which has no vectors of its own"):
        work.Bench(work.Settings(checkpoint=("affinity_ppi",)))


@pytest.mark.parametrize(
    ("column", "answer", "words"),
    [
        ("low", "dG (kcal/mol)", "low (kcal/mol)"),
        ("high", "label", "high"),
        ("dG (kcal/mol)", "dG (kcal/mol)", "dG (kcal/mol)"),
        ("unknown_fraction", "label", "share of blocks that training lacked"),
        ("low second", "label (x)", "low second"),
    ],
)
def test_predictions_are_told_with_units(column: str, answer: str, words: str) -> None:
    assert work.in_words(column, [Answer(answer)]) == words


@pytest.mark.parametrize(
    ("host", "alone"),
    [*((one, True) for one in ("127.0.0.1", "localhost", "::1", "127.0.1.1"))]
    + [(one, False) for one in ("0.0.0.0", "::", "192.168.0.7", "x")],
)
def test_only_loopback_is_local(host: str, alone: bool) -> None:
    assert app.local(host) is alone
    assert app.arguments([]).host == "127.0.0.1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--seconds 0", "--seconds: must be"),
        ("--port 99999", "--port: must be between 0 and 65535"),
    ],
)
def test_wrong_options_are_one_line(capsys: pytest.CaptureFixture[str], arguments: str, message: str) -> None:
    assert app.main(arguments.split()) == 2
    assert message in capsys.readouterr().err


def test_a_port_that_is_taken_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert app.main(["--port", str(port)]) == 2
        assert f"can't serve at 127.0.0.1:{port}: address already in use" in capsys.readouterr().err


def test_a_checkpoint_that_is_not_there_ends_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert app.main(["--port", "0", "--checkpoint", str(tmp_path / "none")]) == 2
    assert "none" in capsys.readouterr().err
