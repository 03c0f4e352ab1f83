"""Connections for scripts: one call, one reply, never again by itself.

A new connection may lead to a server that was restarted, or to another one: before anything is sent
on it, `admit` is told which run of which server it is.

redis-py's client takes 300 microseconds of processor time for a call of 32 requests, most of it in
packing arguments one by one and in checks that a pool of strangers needs. Its connections do the
same in a third of that (`docs/performance.md`), so scripts use those directly.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from flashsale.reservation.server import run_id

#: Told the run id of a server before it is used; raising keeps it from being used.
Admit = Callable[[str], Awaitable[None]]


def _pack(command: tuple[str | int, ...]) -> bytes:
    # hiredis' stub describes a tuple of one.
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]
    return packed


class Links:
    """At most `links_max` connections, made when needed, each used by one call at a time.

    `timeout_ms` bounds a call from the first byte sent to the last byte read; None waits for ever.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        links_max: int = 32,
        timeout_ms: int | None = None,
        admit: Admit | None = None,
    ) -> None:
        self._pool = redis.connection_pool
        self._idle: list[AbstractConnection] = []
        self._free = asyncio.Semaphore(links_max)
        self._timeout = None if timeout_ms is None else timeout_ms / 1000
        self._admit = admit

    async def call(self, *command: str | int) -> Any:
        """The reply of a command.

        Raises redis-py's exceptions, TimeoutError, and what `admit` raises. After anything but a
        ResponseError the connection is dropped: a reply may still be on its way.
        """
        async with self._free:
            link = self._idle.pop() if self._idle else self._make()
            try:
                async with asyncio.timeout(self._timeout):
                    if not link.is_connected:
                        await self._connect(link)
                    await link.send_packed_command([_pack(command)])
                    reply = await link.read_response(timeout=math.inf)
            except ResponseError:
                self._idle.append(link)
                raise
            except BaseException:
                # A server that went away took the idle ones along: they are not tried one by one.
                for gone in (link, *self._idle):
                    await gone.disconnect(nowait=True)
                raise
            self._idle.append(link)
            return reply

    def _make(self) -> AbstractConnection:
        link: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        link.socket_timeout = None  # ours covers the whole call, at the cost of one timer
        return link

    async def _connect(self, link: AbstractConnection) -> None:
        await link.connect()  # type: ignore[no-untyped-call]
        if self._admit is None:
            return
        try:
            await link.send_packed_command([_pack(("INFO", "server"))])
            await self._admit(run_id(await link.read_response(timeout=math.inf)))
        except ResponseError:
            # Busy, or forbidden to tell: the next call has to ask again.
            await link.disconnect(nowait=True)
            raise

    async def close(self) -> None:
        """Close what is idle; calls in flight close their own."""
        while self._idle:
            await self._idle.pop().disconnect()
