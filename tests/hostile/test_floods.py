"""Slow clients, half-closed ones and ten thousand idle ones: others are answered all the while.

What is slow is the client, on purpose; no test here judges how long the server took.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
from aiohttp import web as aiohttp_web

from flashsale.access.queries import NewMerchant, create_merchant
from flashsale.access.tokens import issue_buyer_token
from flashsale.web.server import Limits, serving
from tests.hostile.wire import LAST, exchange, read_answer
from tests.sales.shop import body, now, open_shop

IDLE = 10_000
#: A quarter of what ten thousand connections could cost at 100 KiB each, which would be no bound.
RESIDENT_MAX_BYTES = 600 * 2**20
SLOW_SECONDS = 1


class Web(NamedTuple):
    """A web process of its own, and a sale that is open."""

    port: int
    pid: int
    merchant: NewMerchant
    sale: str

    def order(self, number: int, *, close: bool = True) -> bytes:
        """The bytes of an order by a buyer of this number."""
        token = issue_buyer_token(self.merchant.buyer_key, f"b-{number}", now=now().timestamp())
        value = b'{"sku":"mi3-16","quantity":1}'
        head = (
            f"POST /v1/sales/{self.sale}/orders HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\n"
            f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(value)}\r\n{'Connection: close' if close else 'X: y'}\r\n\r\n"
        )
        return head.encode() + value

    def resident_bytes(self) -> int:
        """Memory that the process holds."""
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize()


@pytest.fixture(scope="module")
async def web(schema, new_database, redis_url, tmp_path_factory) -> AsyncIterator[Web]:
    async with new_database(template=schema) as dsn, open_shop(dsn, redis_url) as shop:
        await shop.redis.flushdb()
        merchant = await create_merchant(shop.pool, "Flooded", now=now())
        own = shop._replace(merchant=merchant.merchant_id)
        sale = await own.scheduled(items=[_item()])
        async with _running(dsn, redis_url, tmp_path_factory.mktemp("web")) as (port, pid):
            yield Web(port, pid, merchant, sale.id)


def _item() -> dict[str, object]:
    return {**body()["items"][0], "supply": 1000}


@contextlib.asynccontextmanager
async def _running(dsn: str, redis_url: str, folder: Path) -> AsyncIterator[tuple[int, int]]:
    log = folder / "web.log"
    with log.open("wb") as written:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "flashsale", "web", "--port", "0"),
            stdout=written,
            stderr=written,
            cwd=folder,
            env={
                **os.environ,
                "FLASHSALE_REDIS_URL": redis_url,
                "FLASHSALE_POSTGRES_DSN": dsn,
                "FLASHSALE_ORDER_ID_SECRET": "order-id-secret" * 3,
                "FLASHSALE_WEB__REQUEST_SECONDS_MAX": str(SLOW_SECONDS),
                "FLASHSALE_WEB__KEEPALIVE_SECONDS": "3600",
            },
        )
    try:
        yield await _port(process, log), process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _port(process: asyncio.subprocess.Process, log: Path) -> int:
    while True:
        for line in log.read_text().splitlines():
            told = json.loads(line) if line.startswith("{") else {}
            if told.get("event") == "started" and "port" in told:
                return int(told["port"])
        assert process.returncode is None, log.read_text()
        await asyncio.sleep(0.05)


HEAD = b"POST /v1/orders/x/cancel HTTP/1.1\r\nHost: a\r\n"
SLOW = {
    "a head byte by byte": [b"GET /v1/time HTTP/1.1\r\n", *[b"X"] * 8],
    "a head without an end": [b"GET /v1/time HTTP/1.1\r\n", *[b"X: y\r\n"] * 8],
    "half a request line": [b"GET /v1/ti"],
    "nothing behind a line end": [b"\r\n"],
    "chunks without an end": [HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\na\r\n"] * 8],
    "an extension without an end": [HEAD + b"Transfer-Encoding: chunked\r\n\r\n0;", *[b"a"] * 8],
}


@pytest.mark.parametrize("parts", SLOW.values(), ids=SLOW)
async def test_who_is_slow_is_closed_and_others_buy(web: Web, parts: list[bytes]) -> None:
    slow = [asyncio.create_task(exchange(web.port, *parts, pause=0.3)) for _ in range(20)]
    await asyncio.sleep(0.1)
    [answer] = await exchange(web.port, web.order(hash(parts[0][:9]) % 10_000 + 90_000))
    assert answer.status in {201, 409}
    for answers in await asyncio.gather(*slow):  # each of them ends, and by the server
        assert [each.status for each in answers] in ([], [401], [408])


async def test_a_body_that_drips_is_refused_in_time(web: Web) -> None:
    value = web.order(80_000)
    cut = len(value) - 20
    drip = [value[at : at + 1] for at in range(cut, len(value) - 1)]
    answers = await exchange(web.port, value[:cut], *drip[:8], pause=0.3)
    assert [answer.status for answer in answers] == [408]
    assert answers[0].json["code"] == "request_timeout"
    [answer] = await exchange(web.port, value)  # and nothing of it was done
    assert (answer.status, "replayed" in answer.head.lower()) == (201, False)


async def test_who_stops_sending_still_hears_and_who_leaves_is_forgotten(web: Web) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
    writer.write(web.order(81_000, close=False) + web.order(81_001, close=False))
    writer.write_eof()
    answers = [await read_answer(reader) for _ in range(2)]
    assert [answer and answer.status for answer in answers] == [201, 201]
    assert await read_answer(reader) is None
    writer.close()
    for _ in range(50):  # a reset with an order on its way
        _, writer = await asyncio.open_connection("127.0.0.1", web.port)
        writer.write(web.order(82_000))
        writer.transport.abort()
    [answer] = await exchange(web.port, web.order(82_000))
    assert answer.status == 201


@contextlib.asynccontextmanager
async def _bare(limits: Limits) -> AsyncIterator[int]:
    """A server of nothing."""
    serving_nothing = serving(aiohttp_web.Application(), host="127.0.0.1", port=0, limits=limits)
    async with serving_nothing as (_, port):
        yield port


@pytest.mark.parametrize("said", [b"", b"GET /v1/ti"])
async def test_who_connects_and_says_nothing_is_closed(said: bytes) -> None:
    """Also where its first piece comes before the connection is served."""
    async with _bare(Limits(keepalive_seconds=0.3, request_seconds_max=0.2)) as port:
        assert await exchange(port, said) == []
    # The control: as quiet a connection of a server that is patient is as good as new.
    async with _bare(Limits(keepalive_seconds=3600, request_seconds_max=3600)) as port:
        whole = b"GET /v1/time HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        [answer] = await exchange(port, said, whole.removeprefix(said), pause=0.5)
        assert answer.status == 404


async def test_ten_thousand_idle_connections_cost_memory_and_nobody_an_order(web: Web) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # An operator who allows fewer descriptors allows fewer connections; five hundred are others'.
    count = IDLE if hard == resource.RLIM_INFINITY else min(IDLE, hard - 500)
    opened: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    try:
        for number in range(count // 500):
            opening = (asyncio.open_connection("127.0.0.1", web.port) for _ in range(500))
            opened += await asyncio.gather(*opening)
            if number % 2:  # some say half a thing, and would be closed for it
                opened[-1][1].write(b"GET /v1/time HT")
            [answer] = await exchange(web.port, web.order(number))
            assert answer.status == 201, answer.body
        assert web.resident_bytes() < RESIDENT_MAX_BYTES
        assert await _open_files(web.pid) > count
        for reader, writer in opened[:: count // 20]:  # and each is as good as new
            writer.write(LAST)
            answer = await read_answer(reader)
            assert answer is not None
            assert answer.status == 200
    finally:
        for _, writer in opened:
            writer.transport.abort()
    [answer] = await exchange(web.port, web.order(count))
    assert answer.status == 201


async def _open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
