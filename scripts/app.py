"""A local web page: drop a structure, choose an interface, see what a model makes of it.

    python scripts/app.py
    python scripts/app.py --predictor runs/version_0/checkpoint/best --atlas atlas
    python scripts/app.py --config config.json --weights weights.pt           (a published model)

The page shows the nearest interfaces of an atlas (--atlas), what a fine-tuned model predicts (--predictor), and which
residues matter, in 3D and as files to download (docs/app.md). It is served to this machine alone unless --host names
another address, loads nothing from other servers and sends nothing to any. Files are read in a process of its own,
which is killed when it takes too long or too much memory.
"""

import argparse
import ipaddress
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configs.command import command
from configs.errors import ConfigError
from configs.limits import PREFIX, size
from configs.options import at_least, require

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "checkpoints" / "pretrain_small"
INSTALL = "pip install 'ligare[app]'"
UNPACKS_TO = 20  # times the largest upload: mmCIF shrinks to a fifth or so
MOST_ATOMS = 1_000_000
LAST_PORT = 65535


@command("app", interrupted="stopped")
def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    at_least(options, 1, "seconds", "upload_seconds", "memory", "workers", "top", "max_upload")
    at_least(options, 0, "waiting")
    require(0 <= options.port <= LAST_PORT, "port", options.port, f"between 0 and {LAST_PORT}")
    try:
        import uvicorn

        from scripts.page.guard import LOOPBACK
        from scripts.page.patience import configuration
        from scripts.page.server import application
    except ImportError as absent:
        raise ConfigError("the page needs Starlette and Uvicorn, which are not installed", hint=INSTALL) from absent
    from scripts.page.pool import Pool, PoolOptions
    from scripts.page.uploads import Uploads

    os.environ.setdefault(f"{PREFIX}MAX_UNPACKED_SIZE", str(UNPACKS_TO * options.max_upload))
    os.environ.setdefault(f"{PREFIX}MAX_ATOMS", str(MOST_ATOMS))
    address = bind(options.host, options.port)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # an end that clears up
    limits = PoolOptions(options.seconds, options.memory, options.workers, options.waiting)
    with tempfile.TemporaryDirectory(prefix="ligare-app-") as folder:
        pool = Pool(settings(options), limits)
        try:
            about = pool.start() | {"largest": options.max_upload}
            if not local(options.host):
                print(
                    f"warning: {options.host} may be reached by others, and the page asks for no password",
                    file=sys.stderr,
                )
            print(f"http://{name_of(address)} (Ctrl-C ends it)", flush=True)
            hosts = {*LOOPBACK, options.host} if local(options.host) else ()
            app = application(pool, Uploads(Path(folder), options.max_upload), about, hosts)
            uvicorn.Server(configuration(app, options.upload_seconds)).run(sockets=[address])
        finally:
            pool.close()
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    group = parser.add_argument_group("models")
    group.add_argument("--checkpoint", metavar="MODEL", help="for vectors and scores (default: the shipped one)")
    group.add_argument("--config", metavar="FILE", help="of a published model, in place of --checkpoint")
    group.add_argument("--weights", metavar="FILE", help="of that published model")
    group.add_argument(
        "--predictor", nargs="+", default=[], metavar="MODEL", help="fine-tuned; several make an ensemble"
    )
    group.add_argument("--atlas", default="", help="vectors of --checkpoint: an atlas, or a table of `ligare embed`")
    group.add_argument("--device", default="cpu", help="cpu (default), auto, cuda or cuda:N")
    group.add_argument("--top", type=int, default=10, help="neighbours and residues that are listed (default 10)")
    group = parser.add_argument_group("server")
    group.add_argument("--host", default="127.0.0.1", help="address to serve at (default 127.0.0.1: this machine only)")
    group.add_argument("--port", type=int, default=7860, help="default 7860; 0: any that is free")
    group = parser.add_argument_group("limits")
    group.add_argument(
        "--max_upload", type=size, default=size("50M"), metavar="N", help="bytes of a file (default 50M)"
    )
    group.add_argument("--seconds", type=float, default=120.0, help="for one order; then it is given up (default 120)")
    group.add_argument("--upload_seconds", type=float, default=300.0, help="for a file to arrive (default 300)")
    group.add_argument("--memory", type=float, default=8.0, help="GiB of a process on the CPU (default 8)")
    group.add_argument("--workers", type=int, default=1, help="orders worked on at a time; others wait (default 1)")
    group.add_argument("--waiting", type=int, default=20, help="orders that may wait (default 20)")
    return parser.parse_args(argv)


def settings(options: argparse.Namespace) -> str:
    """What a worker is told; paths are absolute, since it works in the folders of uploads."""

    def absolute(name: str) -> str:
        return str(Path(name).resolve()) if Path(name).exists() else name  # else a name on the hub

    published = [[absolute(name)] if name else [] for name in (options.config, options.weights)]
    ours = options.checkpoint or ("" if any(published) else str(SHIPPED))
    told: dict[str, Any] = {"checkpoint": [absolute(ours)] if ours else [], "device": options.device}
    told |= {"config": published[0], "weights": published[1], "top": options.top}
    told |= {"predictor": [absolute(name) for name in options.predictor]}
    return json.dumps(told | {"atlas": str(Path(options.atlas).resolve()) if options.atlas else ""})


def bind(host: str, port: int) -> socket.socket:
    """A socket at an address; ConfigError when that is taken or not ours."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(where)
        found.listen()  # from now on, who comes waits until the models are loaded
    except OSError as refused:
        reason = refused.strerror or str(refused)
        raise ConfigError(
            f"can't serve at {host}:{port}: {reason.lower()}", "--host, --port", hint="--port 0: any"
        ) from refused
    return found


def name_of(address: socket.socket) -> str:
    host, port = address.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def local(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(main())
