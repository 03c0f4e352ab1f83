"""The listening server: limits on what a connection may send, and how it stops. Knows no route.

aiohttp's C parser already refuses what requests are smuggled with (a repeated Host or
Content-Length, Content-Length beside Transfer-Encoding, folded lines, bare line feeds, control
characters) and too many or too long header lines; `tests/web/test_raw_http.py` holds it to that.
What it lacks is added here: a time limit on a request's head, and answers that do not echo input.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from flashsale.web.connection import Connection, Quick
from flashsale.web.errors import problem_bytes
from flashsale.web.headers import COMMON_HEADERS

HEADER_LINE_MAX_BYTES = 8_190
HEADERS_MAX = 128
LINGERING_SECONDS = 2.0
BACKLOG = 4_096

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
#: Wraps the application's handler; what it answers itself never meets the router.
Front = Callable[[Handler], Handler]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one process grants its clients; `config/default.toml` has the reasons.

    `request_seconds_max` bounds how long a head, and then a body, may take to arrive.
    """

    keepalive_seconds: float = 75
    request_seconds_max: float = 10
    connections_max: int = 20_000
    stop_seconds_max: float = 10


class _Server(web.Server):
    """Makes `Connection`s, and turns away those past the bound before they can ask anything."""

    def __init__(
        self, handler: Handler, limits: Limits, quick: Quick | None, **others: Any
    ) -> None:
        super().__init__(handler, **others)
        self._limits = limits
        self._quick = quick

    def __call__(self) -> Connection:
        return Connection(
            self,
            quick=self._quick,
            request_seconds_max=self._limits.request_seconds_max,
            keepalive_timeout=self._limits.keepalive_seconds,
            loop=self._loop,
            access_log=None,
            auto_decompress=False,  # bodies are unpacked under a bound of our own
            lingering_time=LINGERING_SECONDS,
            max_field_size=HEADER_LINE_MAX_BYTES,
            max_headers=HEADERS_MAX,
            max_line_size=HEADER_LINE_MAX_BYTES,
        )

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self._connections) > self._limits.connections_max:
            transport.write(_TURNED_AWAY)
            handler.force_close()


def _turned_away() -> bytes:
    body = problem_bytes("busy", "Too many connections. Try again.")
    head = (
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\nRetry-After: 1\r\nConnection: close\r\n"
    )
    common = "".join(f"{name}: {value}\r\n" for name, value in COMMON_HEADERS.items())
    return f"{head}{common}\r\n".encode() + body


_TURNED_AWAY = _turned_away()


class _Runner(web.AppRunner):
    """Runs an application on `_Server`, behind a front where one is given."""

    __slots__ = ("_front", "_limits", "_quick")

    def __init__(
        self, app: web.Application, front: Front | None, quick: Quick | None, limits: Limits
    ) -> None:
        super().__init__(app, shutdown_timeout=limits.stop_seconds_max, access_log=None)
        self._front = front
        self._quick = quick
        self._limits = limits

    async def _make_server(self) -> web.Server:
        plain = await super()._make_server()
        handler = plain.request_handler
        return _Server(
            handler if self._front is None else self._front(handler),
            self._limits,
            self._quick,
            request_factory=plain.request_factory,
        )


@contextlib.asynccontextmanager
async def serving(
    app: web.Application,
    *,
    host: str,
    port: int,
    limits: Limits = Limits(),
    reuse_port: bool = False,
    front: Front | None = None,
    quick: Quick | None = None,
) -> AsyncIterator[tuple[str, int]]:
    """Serve `app` while the context is open; yields the address bound (port 0 chooses one).

    On leaving: no new connections, what is in flight is finished (at most `stop_seconds_max`), the
    rest is closed. OSError where the address cannot be bound.
    """
    runner = _Runner(app, front, quick, limits)
    try:
        await runner.setup()
        site = web.TCPSite(runner, host, port, backlog=BACKLOG, reuse_port=reuse_port or None)
        await site.start()
        address = runner.addresses[0]
        yield str(address[0]), int(address[1])
    finally:
        await runner.cleanup()
