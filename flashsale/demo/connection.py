"""A keep-alive connection of the load driver: one visit at a time, repeated until answered."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Protocol, cast

from flashsale.demo.crowd import Visit
from flashsale.demo.http import Address, AnswerReader, MalformedAnswerError

DROP_AFTER_SECONDS = 0.003
AGAIN_AFTER_SECONDS = 0.02


class Audience(Protocol):
    """Whom a connection serves."""

    address: Address

    def advance(self, connection: Connection) -> None:
        """Give a free connection its next visit."""

    def answered(self, visit: Visit, status: int, body: bytes, seconds: float) -> bool:
        """Take in an answer; whether the visit is over."""

    def failed(self, what: str) -> None:
        """Take in that a connection was lost or what came was no answer."""


class Connection(asyncio.Protocol):
    """Sends visits one after another; a lost connection is opened again and the visit repeated."""

    def __init__(self, audience: Audience) -> None:
        self._audience = audience
        self._reader = AnswerReader()
        self._transport: asyncio.Transport | None = None
        self._visit: Visit | None = None
        self._due = 0.0
        self._in_flight = False
        self._closing = False
        self._opening: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    async def open(self) -> None:
        """Connect, however often it takes; then send what waits for it."""
        address = self._audience.address
        while not self._closing:
            try:
                await self._loop.create_connection(lambda: self, address.host, address.port)
            except OSError:
                await asyncio.sleep(AGAIN_AFTER_SECONDS)
                continue
            self._write()
            return

    def close(self) -> None:
        """End the connection for good."""
        self._closing = True
        self._hang_up()

    def send(self, visit: Visit, due: float) -> None:
        """Send a visitor's request; `due` is when they came, by perf_counter."""
        self._visit, self._due = visit, due
        self._write()

    def _write(self) -> None:
        visit, transport = self._visit, self._transport
        if visit is None or transport is None or self._in_flight:
            return
        self._in_flight = True
        transport.write(visit.request)
        if visit.drops:
            self._loop.call_later(DROP_AFTER_SECONDS, self._drop, visit, transport)

    def _drop(self, visit: Visit, transport: asyncio.Transport) -> None:
        """Lose the connection, the answer unread; the visit is repeated by the next one."""
        if transport is self._transport:
            visit.drops = False
            self._transport = None
            transport.abort()
            self._audience.failed("dropped")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with nothing read and nothing sent."""
        # A cast: uvloop's transports do not inherit from asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._reader = AnswerReader()
        self._in_flight = False

    def data_received(self, data: bytes) -> None:
        """Read; a whole answer ends the visit or has it repeated."""
        visit = self._visit
        if visit is None or visit.drops or self._transport is None:
            return
        try:
            answer = self._reader.feed(data)
        except MalformedAnswerError as error:
            self._audience.failed(str(error))
            self._hang_up()
            return
        if answer is None:
            return
        self._in_flight = False
        if not answer.keep_alive:
            self._hang_up()
        if self._audience.answered(visit, answer.status, answer.body, perf_counter() - self._due):
            self._visit = None
            self._audience.advance(self)
        else:
            self._loop.call_later(AGAIN_AFTER_SECONDS, self._ask_again)

    def _ask_again(self) -> None:
        if not self._in_flight:
            self._due = perf_counter()
            self._write()

    def _hang_up(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Connect again: what was in flight may have taken effect, and has its key to ask by."""
        if self._closing:
            return
        if self._transport is not None:
            self._transport = None
            self._audience.failed("connection_lost")
        self._opening = self._loop.create_task(self.open())
