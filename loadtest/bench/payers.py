"""Buyers who pay: begin a payment, pay it on the provider's page. Both over kept connections.

What they do is what a browser does, at a cost of some tens of microseconds a request, so that the
load does not outweigh what it measures. They decide nothing and retry only what says "again".
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast
from urllib.parse import SplitResult, urlsplit

import orjson

from flashsale.access.buyer_keys import BuyerKey
from flashsale.access.tokens import fast_issuer

#: As many buyers pay at once as others order.
PAYERS = 64
AGAIN_SECONDS = 0.05
ANSWER_SECONDS_MAX = 30.0
#: Answers that say "again in a moment".
_PASSING = frozenset({"order_not_confirmed", "payment_in_progress", "provider_unavailable", "busy"})
_PAY = b"action=pay"

#: An order to pay and its buyer; None once there is none.
Next = Callable[[], Awaitable[tuple[str, str] | None]]


class PayError(RuntimeError):
    """A payer was answered what no payer should be; one line."""


class Line(asyncio.Protocol):
    """One kept connection: one request, one answer with a Content-Length, the next request."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes, only alike.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(PayError(f"a connection was lost: {exc}"))

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, ending, rest = self._read.partition(b"\r\n\r\n")
        if not ending:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(rest) >= length:
            self._read = b""
            assert self._answer is not None
            self._answer.set_result((int(head[9:12]), rest))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()


class Payers:
    """`count` buyers side by side, each paying one order after the other. `paid` is how many."""

    def __init__(self, engine_url: str, sandbox_url: str, key: BuyerKey) -> None:
        self._engine, self._sandbox = urlsplit(engine_url), urlsplit(sandbox_url)
        self._issue = fast_issuer(key, now=time.time())
        self.paid = 0
        self.asked_again: Counter[str] = Counter()

    async def pay(self, following: Next, count: int = PAYERS) -> None:
        """Until there is nothing left to pay. PayError where something is answered wrongly."""
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(self._one_after_the_other(following))

    async def _one_after_the_other(self, following: Next) -> None:
        loop = asyncio.get_running_loop()
        _, engine = await loop.create_connection(Line, *_place(self._engine))
        _, page = await loop.create_connection(Line, *_place(self._sandbox))
        try:
            while (order := await following()) is not None:
                async with asyncio.timeout(ANSWER_SECONDS_MAX):
                    await self._pay(engine, page, *order)
                self.paid += 1
        finally:
            engine.close()
            page.close()

    async def _pay(self, engine: Line, sandbox: Line, order: str, buyer: str) -> None:
        request = (
            f"POST /v1/orders/{order}/payments HTTP/1.1\r\nHost: {self._engine.netloc}\r\n"
            f"Authorization: Bearer {self._issue(buyer)}\r\nContent-Length: 0\r\n\r\n"
        ).encode()
        while True:
            status, body = await engine.ask(request)
            if status == 201:
                break
            code = orjson.loads(body).get("code")
            if code not in _PASSING:
                raise PayError(f"a payment was answered {status} {code}")
            self.asked_again[code] += 1
            await asyncio.sleep(AGAIN_SECONDS)
        page = urlsplit(orjson.loads(body)["checkout_url"])
        status, _ = await sandbox.ask(
            f"POST {page.path} HTTP/1.1\r\nHost: {page.netloc}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(_PAY)}\r\n\r\n".encode()
            + _PAY
        )
        if status != 303:
            raise PayError(f"the provider's page was answered {status}")


def _place(url: SplitResult) -> tuple[str, int]:
    assert url.hostname
    assert url.port
    return url.hostname, url.port


def each_of(orders: AsyncIterator[tuple[str, str]]) -> Next:
    """Hand out one order after the other, to whoever asks."""
    lock = asyncio.Lock()

    async def following() -> tuple[str, str] | None:
        async with lock:
            return await anext(orders, None)

    return following
