"""Entries come whole and checked, politely, from a real server that behaves badly."""

import csv
import gzip
import threading
import time
from collections.abc import Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from configs.errors import ConfigError, DataError
from data.download import Downloader, redirected
from data.entries import check_entry, entry_ids
from scripts.fetch_structures import main


@cache
def entry(name: str, size: int = 100_000) -> bytes:
    """A gzipped mmCIF file of about `size` bytes unpacked, and half as many packed."""
    words = "\n".join(f"ATOM {(7919 * n * n) % 1000003}" for n in range(size // 12))
    return gzip.compress(f"data_{name.upper()}\n#\nloop_\n_atom_site.id\n{words}\n".encode(), 1, mtime=0)


class Server(ThreadingHTTPServer):
    """Answers as `plan` says: path -> what to do at each request, the last for all further ones."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan: dict[str, list[Any]] = {}
        self.seen: list[tuple[str, float, str]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        name = self.path.strip("/").split(".")[0]
        wanted = self.headers.get("Range", "")
        self.server.seen.append((name, time.monotonic(), wanted))
        steps = self.server.plan.get(name, ["good"])
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        body = entry(name)
        tag = {"ETag": f'"{name}"'}
        if isinstance(step, int):
            self.answer(step, b"no")
        elif isinstance(step, bytes):
            self.answer(200, step)
        elif isinstance(step, tuple):
            status, headers = step
            self.answer(status, b"", **headers)
        elif step == "cut":
            self.answer(200, body[: len(body) // 2], **tag | {"Content_Length": str(len(body))})
            self.close_connection = True
        elif step == "cut, no tag":
            self.answer(200, body[: len(body) // 2], Content_Length=str(len(body)))
            self.close_connection = True
        elif step == "slow":
            time.sleep(0.6)
        elif wanted and self.headers.get("If-Range") == tag["ETag"] and step != "whole":
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            self.answer(206, body[start:], Content_Range=f"bytes {start}-{len(body) - 1}/{len(body)}", **tag)
        else:
            self.answer(200, body, **tag)


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    thread = threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()


def fetch(server: Server, out: Path, *more: str) -> int:
    quick = ["--rate", "500", "--backoff", "0.01", "--timeout", "0.4"]
    return main(["--server", server.address, "--out", str(out), *quick, *more])


def reasons(out: Path) -> dict[str, str]:
    with open(out / "failures.csv", newline="") as file:
        return {row["pdb_id"]: row["reason"] for row in csv.DictReader(file)}


def test_entries_come_with_a_manifest_and_are_not_fetched_twice(server: Server, tmp_path: Path) -> None:
    assert fetch(server, tmp_path, "1ABC", "2abc", "1abc") == 0
    assert gzip.decompress((tmp_path / "1abc.cif.gz").read_bytes()).startswith(b"data_1ABC")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1abc.cif.gz", "2abc.cif.gz", "manifest.csv"]
    assert fetch(server, tmp_path, "1abc", "2abc", "3abc") == 0
    assert [name for name, *_ in server.seen] in (["1abc", "2abc", "3abc"], ["2abc", "1abc", "3abc"])
    assert main(["--verify", "--out", str(tmp_path)]) == 0
    (tmp_path / "1abc.cif.gz").write_bytes(b"changed")
    assert main(["--verify", "--out", str(tmp_path)]) == 1
    assert fetch(server, tmp_path, "1abc") == 0
    assert main(["--verify", "--out", str(tmp_path)]) == 0


def test_a_fault_that_passes_is_outlived(server: Server, tmp_path: Path) -> None:
    server.plan = {"1abc": [500, "slow", "good"], "2abc": [(429, {"Retry_After": "1"}), "good"], "3abc": [b"", "good"]}
    assert fetch(server, tmp_path, "1abc", "2abc", "3abc", "--connections", "3") == 0
    (first, second) = [moment for name, moment, _ in server.seen if name == "2abc"]
    assert second - first >= 1


def test_a_broken_transfer_goes_on_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.plan = {"1abc": ["cut", "good"], "2abc": ["cut, no tag", "good"], "3abc": ["cut", "whole"]}
    assert fetch(server, tmp_path, "1abc", "2abc", "3abc") == 0
    asked = {name: wanted for name, _, wanted in server.seen}
    half = {name: len(entry(name)) // 2 for name in asked}
    assert asked == {"1abc": f"bytes={half['1abc']}-", "2abc": "", "3abc": f"bytes={half['3abc']}-"}
    for name in asked:
        assert (tmp_path / f"{name}.cif.gz").read_bytes() == entry(name)


WRONG = {
    "404": (404, "not there: the server answers 404"),
    "403": (403, "refused: the server answers 403"),
    "always 503": (503, "the server answers 503, in 3 tries"),
    "a page": (b"<html>", "is no gzip data"),
    "another entry": (entry("9xyz", 2000), "is the entry '9XYZ', not 1abc"),
    "damaged": (entry("1abc", 2000)[:-8] + b"\0" * 8, "is damaged gzip data"),
    "short": (entry("1abc", 2000)[:-30], "is cut off"),
    "no mmCIF": (gzip.compress(b"HEADER"), "is no mmCIF file"),
    "no atoms": (gzip.compress(b"data_1ABC\n"), "has no atoms"),
    "large": (entry("1abc", 4_000_000), "the limit is 1048576"),
    "a bomb": (gzip.compress(b"data_1ABC\n" + b" " * 3_000_000), "unpacks to more than 2097152"),
    "file:": ((302, {"Location": "file:///etc/passwd"}), "redirects to 'file:///etc/passwd', which is not followed"),
    "a circle": ((302, {"Location": "/1abc"}), "redirects more than 5 times"),
    "wait an hour": ((503, {"Retry_After": "3600"}), "the server asks to wait 3600 s"),
    "always cut": ("cut, no tag", "in 3 tries"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_can_not_be_had_is_told_and_leaves_no_file(
    case: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGARE_MAX_UNPACKED_SIZE", "2M" if case != "large" else "1G")
    step, said = WRONG[case]
    server.plan = {"1abc": [step]}
    assert fetch(server, tmp_path, "1abc", "2abc", "--retries", "2", "--max_size", "1M") == 1
    assert said in reasons(tmp_path)["1abc"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2abc.cif.gz", "failures.csv", "manifest.csv"]
    server.plan = {}
    assert fetch(server, tmp_path, "1abc") == 0
    assert not (tmp_path / "failures.csv").exists()


def test_redirections_lead_to_web_addresses_alone_and_never_away_from_https(server: Server, tmp_path: Path) -> None:
    server.plan = {"1abc": [(302, {"Location": f"{server.address}/moved/../1abc.cif.gz"}), "good"]}
    assert fetch(server, tmp_path, "1abc") == 0
    assert redirected("https://a.org/x", "//b.org/y") == "https://b.org/y"
    for target in ("http://a.org/x", "ftp://a.org/x", "gopher://a", "http://[", "file:x"):
        with pytest.raises(DataError, match="not followed"):
            redirected("https://a.org/x", target)


def test_requests_keep_the_rate_whatever_the_number_of_connections(server: Server, tmp_path: Path) -> None:
    ids = [f"{n}abc" for n in range(1, 7)]
    assert fetch(server, tmp_path, *ids, "--rate", "20", "--connections", "4") == 0
    moments = sorted(moment for _, moment, _ in server.seen)
    assert moments[-1] - moments[0] >= 4.5 / 20


def test_bad_ids_are_refused_before_anything_is_fetched(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert fetch(server, out, "1abc", "../../x", "abcd") == 2
    assert "2 are no PDB ids: '../../x', 'abcd'" in capsys.readouterr().err
    assert not server.seen
    assert not out.exists()


def test_ids_come_from_files_and_from_an_index(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("1abc 2ABC, 3abc # some\n# none\npdb_00004abc\n")
    (tmp_path / "index.csv").write_text("pdb_id,pdb_path\n1abc_02,x.pdb\n5abc,y.pdb\n")
    found = entry_ids(["6abc"], tmp_path / "ids.txt", tmp_path / "index.csv")
    assert found == ["6abc", "1abc", "2abc", "3abc", "pdb_00004abc", "5abc"]
    with pytest.raises(ConfigError, match="names no entries"):
        entry_ids([])


def test_an_extended_id_is_the_same_entry(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(gzip.compress(b"# made\ndata_1ABC\n_atom_site.id 1\n"))
    check_entry(tmp_path / "x", "pdb_00001abc")
    with pytest.raises(DataError, match="not 2abc"):
        check_entry(tmp_path / "x", "2abc")


def test_a_manifest_row_that_was_cut_off_is_as_if_it_were_not_there(server: Server, tmp_path: Path) -> None:
    assert fetch(server, tmp_path, "1abc", "2abc") == 0
    path = tmp_path / "manifest.csv"
    path.write_bytes(path.read_bytes()[:-12])
    assert fetch(server, tmp_path, "1abc", "2abc") == 0
    assert sorted(name for name, *_ in server.seen) == ["1abc", "2abc", "2abc"]
    assert path.read_text().count("\n") == 3


def test_nobody_listens(tmp_path: Path) -> None:
    quick = ["--rate", "500", "--backoff", "0.01", "--retries", "1", "--out", str(tmp_path)]
    assert main(["1abc", "--server", "http://127.0.0.1:9", *quick]) == 2
    assert "the connection failed" in reasons(tmp_path)["1abc"]


def test_a_stop_ends_what_is_under_way(server: Server, tmp_path: Path) -> None:
    downloader = Downloader(retries=50, backoff=60)
    server.plan = {"1abc": [500]}
    threading.Timer(0.2, downloader.stop).start()
    with pytest.raises(DataError, match="was stopped"):
        downloader.fetch(f"{server.address}/1abc", tmp_path / "x", lambda path: None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("address", ["file:///etc", "ftp://x.org", "x.org", "http://", "http://[x"])
def test_a_server_is_a_web_address(address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["1abc", "--server", address, "--out", str(tmp_path / "out")]) == 2
    assert "is no http or https address" in capsys.readouterr().err
