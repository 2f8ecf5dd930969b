"""The web server of the page: files, two questions (`/look`, `/analyse`), and results.

Nothing is loaded from or sent to another server: the content security policy of every answer forbids it. Other web
sites that are open in the same browser can't use this one: an order needs a header that they may not send, and the
server answers only to its own names.
"""

import json
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from scripts.page.pool import Pool, Refused
from scripts.page.results import OUT, RESULTS
from scripts.page.uploads import LIGANDS, STRUCTURES, Uploads

HERE = Path(__file__).parent
PAGE = {"": "index.html", "page.js": "page.js", "page.css": "page.css"}
OURS = "x-ligare"
MOST_ORDER = 100_000  # bytes of an order
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-src 'self'; img-src data:; "
)
POLICY += "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
POLICY_OF_VIEWS = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
POLICY_OF_VIEWS += "frame-ancestors 'self'; sandbox allow-scripts"
HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
CHOICE = ("chain1", "chain2", "lig_code", "lig_resi", "target")
Answer = Callable[[Request], Awaitable[Response]]


def application(pool: Pool, uploads: Uploads, about: dict[str, Any], hosts: Sequence[str]) -> Starlette:
    """The application.

    Args:
        about: what the page says of itself. hosts: names it answers to.
    """

    async def settings(request: Request) -> Response:
        return JSONResponse(about)

    async def state(request: Request) -> Response:
        return JSONResponse({"under_way": pool.under_way})

    async def look(request: Request) -> Response:
        token = uploads.new()
        file = await uploads.store(token, name_of(request), STRUCTURES, request.stream())
        found = await pool.do({"job": "look", "folder": str(uploads.folder(token)), "file": file})
        return JSONResponse({"token": token, "file": file, **found})

    async def ligand(request: Request) -> Response:
        token = request.query_params.get("token", "")
        return JSONResponse({"file": await uploads.store(token, name_of(request), LIGANDS, request.stream())})

    async def analyse(request: Request) -> Response:
        order = await order_of(request)
        folder = uploads.folder(str(order.get("token", "")))
        chosen = {name: str(order.get(name) or "") for name in CHOICE}
        chosen["file"] = inside(folder, order.get("file"), STRUCTURES)
        if order.get("ligand"):
            chosen["ligand_path"] = inside(folder, order["ligand"], LIGANDS)
        return JSONResponse(await pool.do({"job": "analyse", "folder": str(folder), **chosen}))

    async def result(request: Request) -> Response:
        folder, name = uploads.folder(request.path_params["token"]) / OUT, request.path_params["name"]
        if name not in RESULTS or not (folder / name).is_file():
            raise Refused(404, "no such result")
        if name.endswith(".html"):
            return FileResponse(folder / name, headers={"Content-Security-Policy": POLICY_OF_VIEWS})
        return FileResponse(folder / name, filename=name)

    routes = [
        Route("/settings", answered(settings)),
        Route("/state", answered(state)),
        Route("/look", answered(look), methods=["POST"]),
        Route("/ligand", answered(ligand), methods=["POST"]),
        Route("/analyse", answered(analyse), methods=["POST"]),
        Route("/results/{token}/{name}", answered(result)),
        *(Route(f"/{name}", answered(static_file(file))) for name, file in PAGE.items()),
    ]

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        yield
        pool.close()

    return Starlette(
        routes=routes, lifespan=life, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))]
    )


def static_file(name: str) -> Answer:
    async def file(request: Request) -> Response:
        return FileResponse(HERE / name)

    return file


def answered(answer: Answer) -> Answer:
    """The answer with our headers; what was refused as JSON, `{"error": reason}`."""

    async def safely(request: Request) -> Response:
        try:
            if request.method == "POST" and OURS not in request.headers:
                raise Refused(403, "orders come from the page itself")
            response = await answer(request)
        except Refused as refused:
            response = JSONResponse({"error": refused.reason}, refused.status)
        except ClientDisconnect:
            response = Response(status_code=400)
        except OSError as failed:  # a full disk; its path is none of the user's
            response = JSONResponse({"error": f"the server can't keep the file: {failed.strerror}"}, 500)
        for name, value in {"Content-Security-Policy": POLICY, **HEADERS}.items():
            response.headers.setdefault(name, value)
        return response

    return safely


def name_of(request: Request) -> str:
    """The name that the user's file has."""
    return urllib.parse.unquote(request.query_params.get("name", ""))


async def order_of(request: Request) -> dict[str, Any]:
    """The JSON object of an order; Refused when it is none or too long."""
    text = b""
    async for chunk in request.stream():
        text += chunk
        if len(text) > MOST_ORDER:
            raise Refused(413, "the order is too long")
    try:
        order = json.loads(text)
    except (ValueError, RecursionError):  # the latter of brackets in brackets in brackets ...
        order = None
    if not isinstance(order, dict):
        raise Refused(400, "the order is no JSON object")
    return order


def inside(folder: Path, name: Any, endings: tuple[str, ...]) -> str:
    """The name of a file that was uploaded to a folder; Refused for any other."""
    if not isinstance(name, str) or name != Path(name).name or not (folder / name).is_file():
        raise Refused(404, "the upload is no longer there; choose the file again")
    if not name.lower().removesuffix(".gz").endswith(endings):
        raise Refused(400, f"{name}: is of another kind")
    return name
