"""How long the page waits for others: for a request to arrive, and for its answer to be taken.

Who opens connections and sends nothing, sends a byte a second, or does not read, costs a connection for a while. Others
don't notice: nothing waits for a slow one.
"""

import asyncio
import json

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from scripts.page.guard import HEADERS

HEAD = 20.0  # seconds for the first lines of a request, which are short
MOST_CONNECTIONS = 500  # fewer than the 1,024 files that most systems let a process have open


def configuration(app: ASGIApp, upload_seconds: float, head_seconds: float = HEAD) -> uvicorn.Config:
    """How Uvicorn serves an application.

    Args:
        upload_seconds: for a request to arrive in full, and for its answer to be taken. head_seconds: for its head.
    """

    class Protocol(Patient):
        head, whole = head_seconds, upload_seconds

    return uvicorn.Config(
        app, http=Protocol, ws="none", log_level="warning", server_header=False, timeout_graceful_shutdown=2
    )


class Patient(H11Protocol):
    """A connection that is closed when its time is up."""

    head = whole = HEAD
    waits_for: object = None
    timer: asyncio.TimerHandle | None = None
    slow_reader: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        self.wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.wait()

    def wait(self) -> None:
        """Start to wait for what is still to come of a request; a new timer only when that has changed."""
        state = self.conn.their_state
        if state is self.waits_for:
            return
        self.waits_for = state
        stop(self.timer)
        if state is h11.IDLE:
            self.timer = self.loop.call_later(self.head, self.transport.close)
        elif state is h11.SEND_BODY:
            self.timer = self.loop.call_later(self.whole, self.give_up)

    def give_up(self) -> None:
        """Say why, unless the answer has begun, and close."""
        if not self.cycle.response_started:
            self.transport.write(timed_out(self.whole))
        self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.slow_reader = self.loop.call_later(self.whole, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        stop(self.slow_reader)

    def connection_lost(self, exc: Exception | None) -> None:
        stop(self.timer)
        stop(self.slow_reader)
        super().connection_lost(exc)


def stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def timed_out(seconds: float) -> bytes:
    """An answer of status 408 as it goes over the wire."""
    body = json.dumps({"error": f"the upload took longer than {seconds:g} s (--upload_seconds)"}).encode()
    headers = {**HEADERS, "Content-Type": "application/json", "Content-Length": len(body), "Connection": "close"}
    lines = ["HTTP/1.1 408 Request Timeout", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + body
