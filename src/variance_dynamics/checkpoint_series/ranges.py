"""Parts of files on a web server, by range requests, from a server that fails now and then."""

import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from variance_dynamics.base.errors import BadInput

ATTEMPTS = 8
"""Failures in a row, each without a new byte, after which a request is given up."""
PIECE = 2**20
TIMEOUT = 60.0
TOKEN = "a token with the right to read it (`hf auth login` keeps one)"
FINAL = {401: TOKEN, 403: TOKEN, 404: "a file that is there", 416: "a file of the size that the server lists"}
"""Statuses that another attempt does not change -> what was expected."""
Result = TypeVar("Result")


class NoAnswer(BadInput):
    """The network or the server failed; that says nothing of a file."""


def attempted(work: Callable[[], Result], what: str, wait: float = 0.25) -> Result:
    """The result of `work`, tried up to ATTEMPTS times where the network fails.

    Raises NoAnswer, which begins with `what`, where it still fails.
    """
    for attempt in range(ATTEMPTS):
        try:
            return work()
        except BadInput:
            raise
        except (OSError, http.client.HTTPException) as problem:
            status = getattr(problem, "code", None)
            if status in FINAL:
                raise BadInput(f"{what}: status {status}: expected {FINAL[status]}") from None
            last = problem
        time.sleep(min(20.0, wait * 2**attempt))
    raise NoAnswer(f"{what}: {str(last) or type(last).__name__}: expected an answer in {ATTEMPTS} attempts; "
                   "the same command goes on from here")


@dataclass
class Server:
    """Reads byte ranges. `read` counts the bytes of content that came, `requests` the requests."""

    headers: Mapping[str, str] = field(default_factory=dict)
    wait: float = 0.25
    read: int = 0
    requests: int = 0

    def bytes_of(self, url: str, start: int, stop: int) -> bytes:
        """Bytes start:stop of the file at `url`."""
        content = bytearray()
        self._each_piece(url, start, stop, content.extend)
        return bytes(content)

    def save(self, url: str, start: int, stop: int, path: Path) -> None:
        """Write bytes start:stop of `url` to `path`, which appears when it is whole.

        What a killed process has left in the file beside it is kept, and read no second time.
        """
        partial = path.with_name(path.name + ".partial")
        partial.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("ab") as file:
            if file.tell() > stop - start:
                file.truncate(0)
            begin = start + file.tell()
            self._each_piece(url, begin, stop, file.write)
        os.replace(partial, path)

    def _each_piece(self, url: str, start: int, stop: int, take: Callable[[bytes], object]) -> None:
        """Ask again, from where the last answer broke off, until all is there."""
        while start < stop:
            came = attempted(lambda begin=start: self._some(url, begin, stop, take),  # type: ignore[misc]
                             f"{url} (bytes {start:,} to {stop:,})", self.wait)
            start += came

    def _some(self, url: str, start: int, stop: int, take: Callable[[bytes], object]) -> int:
        """Take what one answer brings. Raises OSError where it brings nothing."""
        request = urllib.request.Request(url, headers={"Range": f"bytes={start}-{stop - 1}",
                                                       "Accept-Encoding": "identity"})
        for name, value in self.headers.items():
            request.add_unredirected_header(name, value)  # a token is not for the server of a redirect
        self.requests += 1
        came = 0
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            _check(answer, url, start, stop)
            try:
                while came < stop - start and (piece := answer.read(min(PIECE, stop - start - came))):
                    take(piece)
                    came += len(piece)
                    self.read += len(piece)
            except (OSError, http.client.HTTPException):
                if not came:
                    raise
        if not came:
            raise OSError("the answer is empty")
        return came


def _check(answer: http.client.HTTPResponse, url: str, start: int, stop: int) -> None:
    if answer.status != 206:
        raise BadInput(f"{url}: status {answer.status} to a range request: "
                       "expected 206, from a server that speaks ranges")
    said = re.match(r"bytes (\d+)-(\d+)/", answer.headers.get("Content-Range", ""))
    if not said or int(said[1]) != start or int(said[2]) >= stop:
        raise OSError(f"the answer is {answer.headers.get('Content-Range')!r}, not bytes {start}-{stop - 1}")
