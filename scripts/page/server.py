"""The answers of the page's server: its files, two orders (`/look`, `/analyse`), and results."""

import json
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from scripts.page.guard import Guard
from scripts.page.pool import Pool, Refused
from scripts.page.results import GONE, OUT, RESULTS
from scripts.page.uploads import LIGANDS, STRUCTURES, Uploads

HERE = Path(__file__).parent
PAGE = {"": "index.html", "page.js": "page.js", "page.css": "page.css"}
MOST_ORDER = 100_000  # bytes of an order
POLICY_OF_VIEWS = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
POLICY_OF_VIEWS += "frame-ancestors 'self'; sandbox allow-scripts"
CHOICE = ("chain1", "chain2", "lig_code", "lig_resi", "target")
Answer = Callable[[Request], Awaitable[Response]]


def application(pool: Pool, uploads: Uploads, about: dict[str, Any], hosts: Collection[str]) -> ASGIApp:
    """The application.

    Args:
        about: what the page says of itself. hosts: names it answers to; none: all.
    """

    async def settings(request: Request) -> Response:
        return JSONResponse(about)

    async def state(request: Request) -> Response:
        return JSONResponse({"under_way": pool.under_way})

    async def look(request: Request) -> Response:
        name = uploads.checked(name_of(request), STRUCTURES, length_of(request))
        token = uploads.new()
        file = await uploads.store(token, name, request.stream())
        found = await pool.do({"job": "look", "folder": str(uploads.folder(token)), "file": file})
        return JSONResponse({"token": token, "file": file, **found})

    async def ligand(request: Request) -> Response:
        token = request.query_params.get("token", "")
        name = uploads.checked(name_of(request), LIGANDS, length_of(request))
        return JSONResponse({"file": await uploads.store(token, name, request.stream())})

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
        Route("/settings", settings),
        Route("/state", state),
        Route("/look", look, methods=["POST"]),
        Route("/ligand", ligand, methods=["POST"]),
        Route("/analyse", analyse, methods=["POST"]),
        Route("/results/{token}/{name}", result),
        *(Route(f"/{name}", static_file(file)) for name, file in PAGE.items()),
    ]

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        yield
        pool.close()

    handlers: dict[Any, Any] = {Refused: refused, HTTPException: unknown, ClientDisconnect: left, OSError: not_kept}
    return Guard(Starlette(routes=routes, lifespan=life, exception_handlers=handlers), hosts)


def static_file(name: str) -> Answer:
    async def file(request: Request) -> Response:
        return FileResponse(HERE / name)

    return file


def refused(request: Request, why: Refused) -> Response:
    return JSONResponse({"error": why.reason}, why.status)


def unknown(request: Request, why: HTTPException) -> Response:
    """No such page, or none for this method."""
    return JSONResponse({"error": why.detail}, why.status_code, why.headers)


def left(request: Request, why: ClientDisconnect) -> Response:
    """Nobody reads this."""
    return Response(status_code=400)


def not_kept(request: Request, why: OSError) -> Response:
    """A full disk; its path is none of the user's."""
    return JSONResponse({"error": f"the server can't keep the file: {why.strerror}"}, 500)


def name_of(request: Request) -> str:
    """The name that the user's file has."""
    return urllib.parse.unquote(request.query_params.get("name", ""))


def length_of(request: Request) -> int:
    """Bytes of the file that comes, as far as told; Refused for a form, whose parts are no file yet."""
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise Refused(415, "the body has to be the file itself, not a form with a file in it")
    return int(request.headers.get("content-length", 0))


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
        raise Refused(404, GONE)
    if not name.lower().removesuffix(".gz").endswith(endings):
        raise Refused(400, f"{name}: is of another kind")
    return name
