"""A running page and what a browser would ask it, and structures that are small."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LARGEST = 2**20


def two_chains() -> str:
    """A PDB file of two short helices' worth of glycines that lie side by side, and an ion."""
    places = {"N": (0.0, 0.0, 0.0), "CA": (1.2, 0.8, 0.0), "C": (2.4, 0.0, 0.0), "O": (2.4, -1.2, 0.0)}
    lines = []
    for chain, y in (("A", 0.0), ("B", 4.0)):
        for number in range(8):
            for name, (x, dy, z) in places.items():
                at = f"{x + 3.7 * number:8.3f}{y + dy:8.3f}{z:8.3f}"
                lines.append(f"ATOM  {len(lines) + 1:5}  {name:<3} GLY {chain}{number + 1:4}    {at}  1.00  0.00")
    lines.append(f"HETATM{len(lines) + 1:5} ZN    ZN A 101    {7.4:8.3f}{2.0:8.3f}{1.5:8.3f}  1.00  0.00          ZN")
    return "\n".join([*lines, "END", ""])


class Server:
    """A running page, and what a browser would ask it."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, str(ROOT / "scripts" / "app.py"), "--port", "0", *arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("http://"), line
        self.address = line.split()[0]

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON (or text)."""
        request = urllib.request.Request(f"{self.address}/{path}", body, {"X-Ligare": "1"} | headers)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            status, text = refused.code, refused.read().decode()
        return status, json.loads(text) if text.startswith("{") else text

    def look(self, name: str, body: bytes) -> tuple[int, Any]:
        return self.ask(f"look?name={urllib.parse.quote(name)}", body)

    def analyse(self, **order: str) -> tuple[int, Any]:
        return self.ask("analyse", json.dumps({"target": "complex"} | order).encode())

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)
