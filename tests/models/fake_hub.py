"""A hub of models on this machine: the few addresses that the hub library asks, over HTTP, in memory."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlparse


class FakeHub:
    """Repositories as lists of commits.

    Attributes:
        commits: repository -> file name -> content, one dictionary a commit, newest last.
        requests: "METHOD path" of everything asked.
    """

    def __init__(self) -> None:
        self.commits: dict[str, list[dict[str, bytes]]] = {}
        self.requests: list[str] = []
        self.endpoint = ""

    def files(self, repository: str, revision: str = "main") -> dict[str, bytes] | None:
        for number, files in reversed(list(enumerate(self.commits.get(repository, [])))):
            if revision in ("main", commit_name(number)):
                return files
        return None


def commit_name(number: int) -> str:
    return hashlib.sha1(b"%d" % number).hexdigest()


def object_name(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    hub: FakeHub

    def log_message(self, *_: Any) -> None:
        """Keep the terminal quiet."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        parts = urlparse(self.path).path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self.answer_about("/".join(parts[2:4]), *parts[4:])
        elif len(parts) == 5 and parts[2] == "resolve":
            self.answer_file("/".join(parts[:2]), parts[3], parts[4])
        else:
            self.answer({"error": "no such address"}, 404)

    def answer_about(self, repository: str, what: str = "revision", revision: str = "main", *_: str) -> None:
        files = self.hub.files(repository, revision)
        if files is None:
            self.answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            return
        if what == "tree":
            entries = [(name, content) for name, content in files.items()]
            self.answer([{"type": "file", "path": n, "size": len(c), "oid": object_name(c)} for n, c in entries])
            return
        newest = commit_name(self.hub.commits[repository].index(files))
        siblings = [{"rfilename": name} for name in files]
        self.answer({"id": repository, "modelId": repository, "sha": newest, "siblings": siblings, "private": False})

    def answer_file(self, repository: str, revision: str, name: str) -> None:
        files = self.hub.files(repository, revision)
        if files is None or name not in files:
            self.answer({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        newest = commit_name(self.hub.commits[repository].index(files))
        head = {"ETag": f'"{object_name(files[name])}"', "X-Repo-Commit": newest, "Accept-Ranges": "bytes"}
        self.answer_bytes(files[name], 200, head)

    def do_POST(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        body = self.read_body()
        parts = urlparse(self.path).path.strip("/").split("/")
        if parts == ["api", "repos", "create"]:
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            self.hub.commits.setdefault(name, [{}])
            self.answer({"url": f"{self.hub.endpoint}/{name}", "name": name, "id": name})
        elif parts == ["api", "validate-yaml"]:
            self.answer({"warnings": [], "errors": []})
        elif parts[4:5] == ["preupload"]:
            names = [file["path"] for file in json.loads(body)["files"]]
            self.answer({"files": [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]})
        elif parts[4:5] == ["commit"]:
            self.commit("/".join(parts[2:4]), [json.loads(line) for line in body.splitlines()])
        else:
            self.answer({"error": "no such address"}, 404)

    def commit(self, repository: str, lines: list[dict[str, Any]]) -> None:
        commits = self.hub.commits[repository]
        added = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"
        }
        commits.append(commits[-1] | added)
        name = commit_name(len(commits) - 1)
        self.answer(
            {"commitUrl": f"{self.hub.endpoint}/{repository}/commit/{name}", "commitOid": name, "success": True}
        )

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def answer(self, value: Any, status: int = 200, head: dict[str, str] | None = None) -> None:
        self.answer_bytes(json.dumps(value).encode(), status, {"Content-Type": "application/json"} | (head or {}))

    def answer_bytes(self, content: bytes, status: int, head: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (head | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def running_hub() -> Iterator[FakeHub]:
    """Serve a new hub on a free port of this machine until the block ends."""
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": hub}))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
