"""What every answer of the page carries, and which requests are let in.

Nothing may be loaded from or sent to another server: the content security policy of every answer forbids it, of errors
as well. Other web sites that are open in the same browser can't use this one: it answers only to its own names, and an
order (POST) needs a header that they may not send, and comes from the page itself where the browser tells.
"""

import urllib.parse
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scripts.page.pool import Refused

OURS = "x-ligare"
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Guard:
    """An application behind these rules; an answer's own headers of the same name stay.

    Args:
        hosts: names that requests may be for; none: any.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self.app
        try:
            self.check(Headers(scope=scope), order=scope["method"] == "POST")
        except Refused as refused:
            answer = JSONResponse({"error": refused.reason}, refused.status)
        await answer(scope, receive, with_headers)

    def check(self, headers: Headers, order: bool) -> None:
        """Refused: a request for another name, or an order from another site."""
        host = headers.get("host", "")
        if self.hosts and name_in(host) not in self.hosts:
            raise Refused(400, "this server is not called so")
        if order and (OURS not in headers or not from_here(headers, host)):
            raise Refused(403, "orders come from the page itself")


def name_in(host: str) -> str:
    """The name or address in a Host header, without port and brackets; "" for none."""
    try:
        return urllib.parse.urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def from_here(headers: Headers, host: str) -> bool:
    """Whether a browser that tells where a request comes from tells this page.

    `Sec-Fetch-Site` is asked first: behind a proxy that renames the host, `Origin` is that of the proxy.
    """
    if "sec-fetch-site" in headers:
        return headers["sec-fetch-site"] in ("same-origin", "none")
    if "origin" in headers:
        return headers["origin"].lower().partition("://")[2] == host.lower()
    return True
