"""Closed-loop load on one address: wrk where it is installed, else a plain asyncio client.

Both send the same bytes over the same number of connections; the result names the tool.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

CONNECTIONS = 64

#: A request is `head`, the next line of `lines`, `middle`, a running number, `tail`.
_LUA = """
local lines = io.open(os.getenv("BENCH_LINES"))
local head, middle, tail = {head}, {middle}, {tail}
local number = 0
function request()
  number = number + 1
  return head .. lines:read("*l") .. middle .. number .. tail
end
"""


@dataclass(frozen=True, slots=True)
class Shape:
    """Requests that differ by a line of a file (a token) and a running number (a key)."""

    head: str
    middle: str
    tail: str

    def requests(self, lines: Iterator[str]) -> Iterator[bytes]:
        """One request after the other, while there are lines."""
        for number, line in enumerate(lines, start=1):
            yield f"{self.head}{line.rstrip()}{self.middle}{number}{self.tail}".encode()


@dataclass(frozen=True, slots=True)
class Fired:
    """What came back: answers a second, and how many were not 2xx."""

    per_second: float
    answered: int
    not_2xx: int
    tool: str


def tool() -> str:
    """The load tool that `fire` will use."""
    return "wrk" if shutil.which("wrk") else "asyncio"


async def fire(port: int, shape: Shape, lines: Path, seconds: float) -> Fired:
    """Send requests for `seconds`; `lines` must hold enough of them."""
    if tool() == "wrk":
        return await _wrk(port, shape, lines, seconds)
    return await _asyncio(port, shape, lines, seconds)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\r\n", "\\r\\n") + '"'


async def _wrk(port: int, shape: Shape, lines: Path, seconds: float) -> Fired:
    script = _LUA.format(
        head=_quoted(shape.head), middle=_quoted(shape.middle), tail=_quoted(shape.tail)
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requests.lua"
        path.write_text(script, "utf-8")
        process = await asyncio.create_subprocess_exec(
            "wrk",
            *("-t1", f"-c{CONNECTIONS}", f"-d{seconds:.0f}s", "-s", str(path)),
            f"http://127.0.0.1:{port}",
            env={**os.environ, "BENCH_LINES": str(lines)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output = (await process.communicate())[0].decode()
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    count = re.search(r"(\d+) requests in", output)
    if rate is None or count is None:
        raise RuntimeError(f"wrk did not finish: {output.strip()}")
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    return Fired(float(rate[1]), int(count[1]), int(refused[1]) if refused else 0, "wrk")


class _Client(asyncio.Protocol):
    """One connection: sends, reads one answer by its Content-Length, sends again."""

    def __init__(self, following: Callable[[], bytes | None], statuses: Counter[int]) -> None:
        self._following = following
        self._statuses = statuses
        self._read = b""
        self._transport: asyncio.Transport | None = None
        self.closed = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.closed.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes, only alike.
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        assert self._transport is not None
        request = self._following()
        if request is None:
            self._transport.close()
        else:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, ending, rest = self._read.partition(b"\r\n\r\n")
        if not ending:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(rest) >= length:
            self._statuses[int(head[9:12])] += 1
            self._read = rest[length:]
            self._send()


async def _asyncio(port: int, shape: Shape, lines: Path, seconds: float) -> Fired:
    statuses: Counter[int] = Counter()
    loop = asyncio.get_running_loop()
    with lines.open("r", encoding="ascii") as file:
        requests = shape.requests(file)
        begun = time.perf_counter()

        def following() -> bytes | None:
            return next(requests, None) if time.perf_counter() - begun < seconds else None

        connections = [
            await loop.create_connection(lambda: _Client(following, statuses), "127.0.0.1", port)
            for _ in range(CONNECTIONS)
        ]
        await asyncio.gather(*(client.closed for _, client in connections))
        took = time.perf_counter() - begun
    answered = statuses.total()
    good = sum(count for status, count in statuses.items() if 200 <= status < 300)
    return Fired(answered / took, answered, answered - good, "asyncio")
