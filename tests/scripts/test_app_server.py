"""The page's server among slow, rude and foreign clients: over real sockets, with stand-ins for models and work."""

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="the page needs ligare[app]")
pytest.importorskip("starlette", reason="the page needs ligare[app]")

import uvicorn

from configs.errors import ConfigError
from scripts import app
from scripts.page.guard import LOOPBACK, POLICY
from scripts.page.patience import configuration
from scripts.page.server import application
from scripts.page.uploads import Uploads

LARGEST, PATIENCE = 50_000, 60.0


class StandIn:
    """A pool that answers at once, with what it was asked."""

    under_way = 0

    async def do(self, order: dict[str, Any]) -> Any:
        return {"job": order["job"], "size": (Path(order["folder"]) / order["file"]).stat().st_size}

    def close(self) -> None:
        pass


class Running:
    """An application served in a thread."""

    def __init__(self, asgi: Any, host: str = "127.0.0.1", upload: float = 600.0, head: float = 600.0) -> None:
        self.socket = app.bind(host, 0)
        self.server = uvicorn.Server(configuration(asgi, upload, head))
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],), daemon=True)
        self.thread.start()
        self.address = self.socket.getsockname()[:2]

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        """Status, JSON and headers; the names of headers have _ for -."""
        connection = http.client.HTTPConnection(*self.address, timeout=PATIENCE)
        sent = {"X-Ligare": "1"} | {name.replace("_", "-"): value for name, value in headers.items()}
        chunked = body is not None and not isinstance(body, bytes)
        connection.request(method, path, body, {k: v for k, v in sent.items() if v}, encode_chunked=chunked)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        told = json.loads(content) if "json" in (answer.getheader("content-type") or "") else content
        return answer.status, told, {name.lower(): value for name, value in answer.getheaders()}

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=PATIENCE)

    def end(self) -> None:
        self.server.should_exit = True
        self.thread.join(PATIENCE)
        self.socket.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    uploads = Uploads(tmp_path_factory.mktemp("uploads"), LARGEST)
    running = Running(application(StandIn(), uploads, {"model": "none"}, LOOPBACK))  # type: ignore[arg-type]
    yield running
    running.end()
    assert not running.thread.is_alive()


ANSWERS = [
    ("GET", "/", {}, 200),
    ("GET", "/nothing", {}, 404),
    ("GET", "/results/x/y/z", {}, 404),
    ("GET", "/results/x/scores.csv", {}, 404),
    ("DELETE", "/settings", {}, 405),
    ("GET", "/look", {}, 405),
    ("POST", "/nothing", {}, 404),
    ("POST", "/look", {"X_Ligare": ""}, 403),
    ("GET", "/", {"Host": "evil.example"}, 400),
    ("POST", "/look?name=x.png", {}, 400),
]


@pytest.mark.parametrize(("method", "path", "headers", "status"), ANSWERS)
def test_every_answer_forbids_what_the_page_forbids(
    page: Running, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    found, told, names = page.ask(method, path, **headers)
    assert found == status
    assert names["content-security-policy"] == POLICY
    assert names["x-content-type-options"] == "nosniff" and names["cache-control"] == "no-store"
    assert status == 200 or told["error"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:7860"}, 200),
        ({"Host": "[::1]:7860", "Origin": "http://[::1]:7860"}, 200),
        ({"Host": "[::1]:7860", "Origin": "http://localhost:7860"}, 403),
        ({"Host": "LOCALHOST", "Origin": "http://localhost"}, 200),
        ({"Host": "localhost:1", "Origin": "http://localhost:2"}, 403),
        ({"Host": "localhost", "Origin": "null"}, 403),
        ({"Host": "localhost", "Origin": "https://page.example", "Sec_Fetch_Site": "same-origin"}, 200),
        ({"Host": "localhost", "Sec_Fetch_Site": "cross-site"}, 403),
        ({"Host": "localhost.evil.example"}, 400),
        ({"Host": "[::1"}, 400),
        ({"Host": "[::2]:7860"}, 400),
    ],
)
def test_orders_come_from_the_page_under_its_own_names(page: Running, headers: dict[str, str], status: int) -> None:
    assert page.ask("POST", "/look?name=x.pdb", b"ATOM", **headers)[0] == status


def test_other_addresses_may_be_any_when_all_are_let_in(tmp_path: Path) -> None:
    running = Running(application(StandIn(), Uploads(tmp_path, LARGEST), {}, ()))  # type: ignore[arg-type]
    assert running.ask("GET", "/settings", Host="page.example")[0] == 200
    assert running.ask("POST", "/look?name=x.pdb", b"ATOM", Host="page.example", Origin="http://a.example")[0] == 403
    running.end()


def test_the_page_is_served_at_the_other_loopback_address(tmp_path: Path) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    try:
        running = Running(application(StandIn(), Uploads(tmp_path, LARGEST), {}, LOOPBACK), host="::1")  # type: ignore[arg-type]
    except ConfigError:
        pytest.skip("no address ::1 here")
    assert app.name_of(running.socket) == f"[::1]:{running.address[1]}"
    origin = f"http://{app.name_of(running.socket)}"
    assert running.ask("POST", "/look?name=x.pdb", b"ATOM", Origin=origin)[1]["size"] == 4
    running.end()


def await_(met: Callable[[], bool]) -> None:
    """Until a condition is met; a test that waits in vain fails."""
    end = time.monotonic() + PATIENCE
    while not met():
        assert time.monotonic() < end
        time.sleep(0.02)


def pieces(n: int) -> Iterator[bytes]:
    for _ in range(n):
        yield b"x" * 1000


def test_uploads_are_bounded_with_and_without_their_length(page: Running) -> None:
    assert page.ask("POST", "/look?name=x.pdb", pieces(50))[1]["size"] == LARGEST
    status, told, _ = page.ask("POST", "/look?name=x.pdb", pieces(51))
    assert status == 413 and "x.pdb: is larger than" in told["error"]
    with page.connect() as client:  # the length alone is enough: nothing more is sent
        head = (
            f"POST /look?name=x.pdb HTTP/1.1\r\nHost: localhost\r\nX-Ligare: 1\r\nContent-Length: {LARGEST + 1}\r\n\r\n"
        )
        client.sendall(head.encode())
        assert client.recv(12) == b"HTTP/1.1 413"


@pytest.mark.parametrize("body", [b"", b"--x\r\nContent-Disposition: form-data", b"--y\r\n\r\n\xff\x00--x--\r\n"])
def test_forms_are_refused_whole_or_broken(page: Running, body: bytes) -> None:
    status, told, _ = page.ask("POST", "/look?name=x.pdb", body, Content_Type="multipart/form-data; boundary=x")
    assert status == 415 and "not a form" in told["error"]


@pytest.mark.parametrize(
    "noise", [b"\x00" * 100, b"GET / HTTP/9.9\r\n\r\n", b"POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"]
)
def test_what_is_no_request_is_survived(page: Running, noise: bytes) -> None:
    with page.connect() as client:
        client.sendall(noise)
        assert client.recv(12) in (b"HTTP/1.1 400", b"")
    assert page.ask("GET", "/settings")[0] == 200


BEGUN = b"POST /look?name=slow.pdb HTTP/1.1\r\nHost: localhost\r\nX-Ligare: 1\r\nContent-Length: 40000\r\n\r\nx"


def test_nobody_waits_for_slow_clients(tmp_path: Path) -> None:
    running = Running(application(StandIn(), Uploads(tmp_path, LARGEST), {}, LOOPBACK))  # type: ignore[arg-type]
    clients = [running.connect() for _ in range(30)]
    for client, sent in zip(clients, 10 * [b"", b"POST /look?name=", BEGUN]):
        client.sendall(sent)
    await_(lambda: len(list(tmp_path.glob("*/slow.pdb"))) == 10)
    for _ in range(5):
        assert running.ask("POST", "/look?name=quick.pdb", b"ATOM")[1]["size"] == 4
    assert len(list(tmp_path.glob("*/slow.pdb"))) == 10
    for client in clients:
        client.close()
    await_(lambda: not list(tmp_path.glob("*/slow.pdb")))
    running.end()


@pytest.mark.parametrize(
    ("sent", "told"),
    [(b"", b""), (b"POST /look?name=", b""), (BEGUN, b"HTTP/1.1 408")],
    ids=["nothing", "head", "body"],
)
def test_slow_clients_are_left(sent: bytes, told: bytes, tmp_path: Path) -> None:
    """A byte now and then gives no more time."""
    asgi = application(StandIn(), Uploads(tmp_path, LARGEST), {}, LOOPBACK)  # type: ignore[arg-type]
    running = Running(asgi, upload=1.0, head=1.0)
    with running.connect() as client:
        client.sendall(sent)
        client.settimeout(0.1)
        answer = None
        while answer is None:
            try:
                answer = client.recv(12)
            except TimeoutError:
                client.sendall(b"x" if sent else b"")
            except ConnectionError:  # closed while a byte was on its way
                answer = told
    assert answer == told
    await_(lambda: not list(tmp_path.glob("*/slow.pdb")))
    running.end()


def test_a_client_that_does_not_read_is_left() -> None:
    ended = threading.Event()

    async def much(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(1000):
                await send({"type": "http.response.body", "body": b"x" * 2**20, "more_body": True})
                await asyncio.sleep(0)
        finally:
            ended.set()

    running = Running(much, upload=1.0)
    with running.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert ended.wait(PATIENCE)
    running.end()
