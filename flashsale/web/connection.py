"""One connection: limits on its requests, and a short cut for the plainest of them.

aiohttp makes a task, a request and a writer for each request. A request that came whole, in one
piece and on its own, needs none of these: it is offered to `quick`, which answers it in a callback.
Everything else (slow bodies, pipelines, unusual headers) goes aiohttp's way, and so does what
`quick` does not take. The order of answers is kept: while one is being made, no other begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from flashsale.web.errors import Problem

#: Writes one whole answer.
Reply = Callable[[bytes], None]


class Quick(Protocol):
    """Answers plain requests without a task."""

    def __call__(self, message: RawRequestMessage, body: bytes, reply: Reply, peer: Any) -> bool:
        """Whether it takes the request; if so it calls `reply` once, now or later.

        `peer` is the name of the socket's other end: an address first, or no tuple at all.
        """


class Connection(RequestHandler):
    """One connection; it ends when a request's head takes longer than `request_seconds_max`.

    It ends too when a client takes none of its answers for as long as an idle one is kept.
    """

    __slots__ = (
        "_asked_all",
        "_gone",
        "_head_timer",
        "_quick",
        "_refused",
        "_resting",
        "_silence_timer",
        "_unread_timer",
        "request_seconds_max",
    )

    def __init__(
        self,
        manager: web.Server,
        *,
        quick: Quick | None,
        request_seconds_max: float,
        **others: Any,
    ) -> None:
        super().__init__(manager, **others)
        self.request_seconds_max = request_seconds_max
        self._quick = quick
        self._head_timer: asyncio.TimerHandle | None = None
        #: Runs from the connection's first moment to the first piece of its first request.
        self._silence_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        #: What aiohttp's loop of this connection waits for, kept from it during a quick answer.
        self._resting: asyncio.Future[None] | None = None
        #: The client has closed its side, and may still read.
        self._asked_all = False
        #: The parser refused what came: nothing after it can be understood.
        self._refused = False
        #: Done once the connection is lost; there only while somebody waits for that.
        self._gone: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Serve the connection, unless it is gone already: turned away, or reset at once."""
        if self._manager is not None:
            await super().start()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; start the clock on a head that did not come whole, the rare case."""
        heads = self._request_count
        waiter, self._waiter = self._waiter, None  # aiohttp shall not wake up yet
        try:
            super().data_received(data)
        finally:
            self._waiter = waiter
        idle = waiter is not None and not waiter.done()
        if self._request_count != heads:
            self._stop_timer()
            if waiter is not None and idle and not self._take(waiter):
                waiter.set_result(None)
        elif self._silence_timer is not None or (self._head_timer is None and idle):
            self._stop_timer()
            self._head_timer = self._loop.call_later(self.request_seconds_max, self.force_close)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock on a client that connects and says nothing; aiohttp would wait for ever.

        Its first piece may come before aiohttp's loop of the connection runs, and counts as well.
        """
        super().connection_made(transport)
        self._silence_timer = self._loop.call_later(self._keepalive_timeout, self.force_close)

    def _take(self, waiter: asyncio.Future[None]) -> bool:
        """Whether the one request that has arrived is being answered the quick way."""
        if self._quick is None or len(self._messages) != 1 or self._paused or self._upgraded:
            return False
        message, payload = self._messages[0]
        if (
            not isinstance(message, RawRequestMessage)
            or message.should_close
            or message.version != HttpVersion11
            or message.chunked
            or message.upgrade
            or message.compression
            or not payload.is_eof()
        ):
            return False
        # Looked at and not read: where nobody takes the request, aiohttp's way finds it whole.
        body = b"" if payload.at_eof() else b"".join(payload._buffer)  # noqa: SLF001
        self._resting, self._waiter = waiter, None
        self._request_in_progress = True
        try:
            taken = self._quick(message, body, self._reply, self.peername)
        except Exception:  # aiohttp's way answers it, whatever it is
            self.logger.exception("A quick answer failed")
            taken = self._resting is None
        if not taken:
            self._resting, self._waiter = None, waiter
            self._request_in_progress = False
        return taken

    def _reply(self, answer: bytes) -> None:
        """Write a quick answer, and let aiohttp have the connection again."""
        transport = self.transport
        if transport is not None and not transport.is_closing():
            transport.write(answer)
        waiter, self._resting = self._resting, None
        self._request_in_progress = False
        if self._handler_waiter is not None:
            self._handler_waiter.set_result(None)
        if self._manager is None or waiter is None or waiter.done():
            return
        # As aiohttp does between taking up a request and having answered it.
        self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        self._manager.requests_count += 1
        self._keepalive = True
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(
                self._next_keepalive_close_time, self._process_keepalive
            )
        self._waiter = waiter
        if self._close or self._force_close:
            waiter.cancel()
        elif self._messages:
            waiter.set_result(None)
        elif self._asked_all:
            self.force_close()

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio's contract, not aiohttp's
        """Keep the connection while a client that asks no more is still owed answers."""
        self._asked_all = True
        # Where the last answer was written a moment ago, only the next turn of the loop shows it.
        self._loop.call_soon(self._end_if_idle)
        waiter, request = self._waiter, self._current_request
        return (
            self._gone is None
            and (waiter is None or waiter.done())
            and (request is None or request.content.is_eof())
            and all(payload.is_eof() for _, payload in self._messages)
        )

    def _end_if_idle(self) -> None:
        if self._waiter is not None and not self._waiter.done() and not self._messages:
            self.force_close()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write an answer of aiohttp's way, and see whether it is the last one."""
        if request._message.upgrade:  # noqa: SLF001 - the parser's word, which no request repeats
            # No other protocol is spoken here. Of what stands behind such a request aiohttp loses
            # the part that came with it, and would take the rest for a request of its own.
            self._refused = True
            if isinstance(resp, web.StreamResponse):
                resp.force_close()
        finished = await super().finish_response(request, resp, start_time)
        if self._refused:
            await self._linger()
        elif self._asked_all and not self._messages:
            self._close = True
        return finished

    async def _linger(self) -> None:
        """Drop what the client still sends, for a while, so that it can read the last answer.

        A connection closed on unread bytes is reset, and the reset may overtake the answer.
        """
        self._close = True  # from here on aiohttp drops what arrives
        if self.transport is None or self.transport.is_closing() or self._asked_all:
            return
        self._gone = self._loop.create_future()
        self.transport.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._lingering_time):
                await self._gone

    def pause_writing(self) -> None:
        """Start the clock on a client that does not take its answers."""
        super().pause_writing()
        if self.transport is not None:
            # Not close(), which would wait for the answers to be taken.
            self._unread_timer = self._loop.call_later(
                self._keepalive_timeout, self.transport.abort
            )

    def resume_writing(self) -> None:
        """Stop that clock."""
        super().resume_writing()
        self._stop_unread_timer()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the timers with the connection; an answer still to come is written to nobody."""
        self._stop_timer()
        self._stop_unread_timer()
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
        if self._resting is not None:
            self._waiter, self._resting = self._resting, None
        super().connection_lost(exc)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        if self._silence_timer is not None:
            self._silence_timer.cancel()
            self._silence_timer = None

    def _stop_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's signature
    ) -> web.StreamResponse:
        """Answer what the parser refused, and close; the refused text is neither sent nor logged.

        The middleware answers faults of handlers, so that a status of 500 is a fault in it.
        """
        if request.writer.output_size > 0:
            raise ConnectionError("an answer had begun and cannot be replaced")
        if status >= 500:
            self.logger.error("A request failed outside the middleware", exc_info=exc)
        code = "internal" if status >= 500 else "bad_request"
        response = Problem("header_too_large" if isinstance(exc, LineTooLong) else code).response()
        response.force_close()
        self._refused = True
        return response
