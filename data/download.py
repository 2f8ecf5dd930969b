"""Files from a web server, politely: a rate, few connections, waiting as the server asks, and whole files or none."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from configs.errors import ConfigError, DataError
from configs.files import atomic_file

CHUNK = 2**16
MOST_REDIRECTS = 5
WORTH_A_RETRY = (408, 425, 429, 500, 502, 503, 504)
SCHEMES = ("http", "https")


class Lost(Exception):
    """A fault that may pass: what happened, and how many seconds the server wants to be left alone."""

    def __init__(self, what: str, wait: float = 0.0) -> None:
        super().__init__(what)
        self.wait = wait


@dataclass
class Part:
    """What came of a file so far, and the version (strong ETag) that it is of; without one it can't be continued."""

    path: Path
    tag: str = ""

    def size(self) -> int:
        """Bytes that the next try needn't ask for."""
        return self.path.stat().st_size if self.tag else 0

    def forget(self) -> None:
        """Start again."""
        self.tag = ""


class Pace:
    """Lets requests pass at a rate, whatever the number of threads; all wait when the server asks one to."""

    def __init__(self, rate: float, stopped: threading.Event) -> None:
        self.gap, self.stopped = 1 / rate, stopped
        self._next, self._lock = 0.0, threading.Lock()

    def turn(self) -> None:
        """Wait for the next free moment."""
        while not self.stopped.is_set():
            with self._lock:
                now = time.monotonic()
                left = self._next - now
                if left <= 0:
                    self._next = now + self.gap
                    return
            self.stopped.wait(left)

    def hold(self, seconds: float) -> None:
        """Let nobody pass for so long."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


@dataclass
class Downloader:
    """Fetches files; may be used by several threads.

    Attributes:
        rate: requests a second. connections: at a time. retries: after the first try of a file. timeout: seconds
            without a byte. slowest: bytes a second that a transfer must reach after its first `timeout` seconds.
        max_size: bytes of a file. longest_wait: seconds; a server that asks for more is given up for that file.
        backoff: seconds before the first retry, then twice as long each time.
    """

    rate: float = 4.0
    connections: int = 2
    retries: int = 4
    timeout: float = 30.0
    slowest: float = 1000.0
    max_size: int = 512 * 2**20
    longest_wait: float = 120.0
    backoff: float = 1.0

    def __post_init__(self) -> None:
        self._stopped = threading.Event()
        self._pace = Pace(self.rate, self._stopped)
        self._pool = urllib3.PoolManager(
            maxsize=self.connections, retries=False, timeout=self.timeout, headers={"User-Agent": "ligare"}
        )

    def stop(self) -> None:
        """Let all that is under way end soon, with an error."""
        self._stopped.set()

    def fetch(self, url: str, out: Path, check: Callable[[Path], None]) -> None:
        """Put what is at a URL into a file, whole and checked, or leave the file as it was.

        What was received before a connection broke is kept for the next try, which asks for the rest (`Range`) where
        the server names its version of the file (a strong `ETag`), and for all of it elsewhere.

        Args:
            check: raises DataError for content that is not what was wanted; then all of it is fetched once more.

        Raises:
            DataError: what came of it, after all retries; at once for answers that no retry changes (404).
        """
        with atomic_file(out) as temporary:
            part, spoiled, what = Part(temporary), False, ""
            for attempt in range(self.retries + 1):
                if attempt:
                    self._stopped.wait(min(self.backoff * 2 ** (attempt - 1), self.longest_wait))
                try:
                    self._request(url, part)
                except Lost as fault:
                    what = str(fault)
                    if fault.wait > self.longest_wait:
                        hint = "try again later"
                        raise DataError(
                            f"{what}; the server asks to wait {fault.wait:.0f} s", url, hint=hint
                        ) from fault
                    self._pace.hold(fault.wait)  # of all connections
                    continue
                try:
                    return check(temporary)
                except DataError as wrong:
                    what = wrong.what
                    if spoiled:
                        raise DataError(f"what came {what}, twice", url, hint=wrong.hint) from wrong
                    spoiled = True
                    part.forget()
            raise DataError(f"{what}, in {self.retries + 1} tries", url, hint="try again later")

    def _request(self, url: str, part: Part) -> None:
        """One try: the rest of a file, or all of it.

        Raises:
            Lost: another try may do better; the part has what came. DataError: none will.
        """
        have = part.size()
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-", "If-Range": part.tag} if have else {})
        try:
            answer = self._answer(url, headers)
            try:
                self._receive(url, answer, part, have)
            finally:
                answer.close()  # what is left of it is of no use
        except HTTPError as broken:
            raise Lost(in_words(broken)) from broken

    def _answer(self, url: str, headers: dict[str, str]) -> Any:
        """The answer of the server, redirections followed as `redirected` allows."""
        for _ in range(MOST_REDIRECTS + 1):
            self._pace.turn()
            self._check_stopped()
            answer: Any = self._pool.request(
                "GET", url, headers={"User-Agent": "ligare", **headers}, preload_content=False, redirect=False
            )
            target = answer.get_redirect_location()
            if not target:
                return answer
            answer.close()
            url = redirected(url, target)
        raise DataError(f"redirects more than {MOST_REDIRECTS} times", url)

    def _receive(self, url: str, answer: Any, part: Part, have: int) -> None:
        if answer.status in WORTH_A_RETRY:
            raise Lost(f"the server answers {answer.status}", asked_wait(answer))
        continued = answer.status == 206 and have > 0
        if continued and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.forget()
            raise Lost("the server sends another part than asked for")
        if answer.status == 416:  # the file there is shorter than what came
            part.forget()
            raise Lost("the server can't send the rest")
        if answer.status != 200 and not continued:
            missing = answer.status in (404, 410)
            hint = "is the id right, and the entry not withdrawn?" if missing else ""
            raise DataError(
                f"{'not there' if missing else 'refused'}: the server answers {answer.status}", url, hint=hint
            )
        have = have if continued else 0
        tag = answer.headers.get("ETag", "")
        part.tag = "" if tag.startswith("W/") else tag
        announced = answer.headers.get("Content-Length", "")
        self._check_size(url, have + (int(announced) if announced.isdecimal() else 0))
        start, first = time.monotonic(), have
        with open(part.path, "r+b") as file:
            file.seek(have)
            file.truncate()
            for some in answer.stream(CHUNK, decode_content=False):
                file.write(some)
                have += len(some)
                self._check_size(url, have)
                self._check_stopped()
                spent = time.monotonic() - start
                if spent > self.timeout and (have - first) < self.slowest * (spent - self.timeout):
                    raise Lost(f"the server sends fewer than {self.slowest:.0f} bytes a second")

    def _check_size(self, url: str, size: int) -> None:
        if size > self.max_size:
            raise DataError(f"has {size} bytes or more, the limit is {self.max_size}", url, hint="raise --max_size")

    def _check_stopped(self) -> None:
        if self._stopped.is_set():
            raise DataError("was stopped", "download")


def redirected(url: str, target: str) -> str:
    """Where a redirection leads: another http or https address, and none of http from one of https; else DataError."""
    try:
        after = urljoin(url, target)
        parts = urlsplit(after)
        fine = parts.scheme in SCHEMES and bool(parts.hostname)
    except ValueError:
        fine = False
    if not fine or (url.startswith("https:") and parts.scheme == "http"):
        raise DataError(f"redirects to {target[:200]!r}, which is not followed", url)
    return after


def asked_wait(answer: Any) -> float:
    """Seconds of `Retry-After` (a number or a date); 0 when there is none or it is not understood."""
    try:
        return max(0.0, Retry().get_retry_after(answer) or 0.0)
    except HTTPError:
        return 0.0


def in_words(broken: HTTPError) -> str:
    """What went wrong with a connection, in a line."""
    reason = getattr(broken, "reason", None) or broken
    return f"the connection failed: {' '.join(str(reason).split())[:200]}"


def check_server(server: str) -> None:
    """Refuse what is no http or https address; ConfigError."""
    try:
        parts = urlsplit(server)
        fine = parts.scheme in SCHEMES and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        fine = False
    if not fine:
        raise ConfigError(f"{server!r} is no http or https address", "--server")
