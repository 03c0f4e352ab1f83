"""One connection: answers in order, on every way, to clients that stop halfway or never read."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator

import pytest
import uvloop
from aiohttp import web
from aiohttp.http_parser import RawRequestMessage

from flashsale.web.connection import Reply
from flashsale.web.fast import fast, wire
from flashsale.web.server import Handler, Limits, serving
from tests.web.test_raw_http import GET, POST, echo, read_answer, send

LIMITS = Limits(keepalive_seconds=30, request_seconds_max=5, stop_seconds_max=5)
QUICK = GET.replace(b"echo", b"quick") + b"\r\n"
PLAIN = GET + b"\r\n"
FAST = GET.replace(b"echo", b"fast") + b"\r\n"
BODY = b"b" * 10_000


class Desk:
    """A `Quick` that takes `/quick` and answers when told to; `/fault` is too much for it."""

    def __init__(self) -> None:
        self.offered: list[str] = []
        self.owed: asyncio.Queue[Reply] = asyncio.Queue()
        self.fast_answers = 0

    def __call__(
        self, message: RawRequestMessage, _body: bytes, reply: Reply, _peer: object
    ) -> bool:
        self.offered.append(message.path)
        if message.path == "/fault":
            raise RuntimeError("a fault in the quick way")
        if message.path == "/quick":
            self.owed.put_nowait(reply)
        return message.path == "/quick"

    async def answer(self, text: bytes) -> None:
        (await self.owed.get())(wire(200, "", text))

    def front(self, handler: Handler) -> Handler:
        async def serve(request: web.BaseRequest) -> web.StreamResponse:
            if request.path != "/fast":
                return await handler(request)
            self.fast_answers += 1
            return fast(200, "", BODY)

        return serve


@contextlib.asynccontextmanager
async def running(limits: Limits = LIMITS) -> AsyncIterator[tuple[Desk, int]]:
    app = web.Application()
    app.router.add_get("/echo", echo)
    app.router.add_get("/fault", echo)
    app.router.add_get("/quick", echo)
    app.router.add_post("/echo", echo)
    desk = Desk()
    async with serving(
        app, host="127.0.0.1", port=0, limits=limits, front=desk.front, quick=desk
    ) as (_, port):
        yield desk, port


@pytest.fixture(scope="module")
async def busy() -> AsyncIterator[tuple[Desk, int]]:
    async with running() as opened:
        yield opened


@pytest.mark.parametrize(
    "behind",
    [
        [PLAIN, QUICK],
        [PLAIN + QUICK],
        [PLAIN + QUICK[:20], QUICK[20:]],
        [POST + b"Content-Length: 4\r\n\r\n{", b"}  ", QUICK],
        [FAST, PLAIN * 40, FAST],
    ],
)
async def test_nothing_overtakes_a_quick_answer(busy, behind: list[bytes]) -> None:
    desk, port = busy
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(QUICK)
    reply = await desk.owed.get()
    for piece in behind:
        writer.write(piece)
        await asyncio.sleep(0.02)
    first = asyncio.create_task(read_answer(reader))
    await asyncio.sleep(0.05)
    assert not first.done()
    reply(wire(200, "", b"first"))
    assert (await first).body == b"first"
    for _ in range(b"".join(behind).count(b"HTTP/1.1")):
        answer = asyncio.create_task(read_answer(reader))
        await asyncio.sleep(0)
        if not desk.owed.empty():
            await desk.answer(b"got")
        assert (await answer).status == 200
    writer.write(QUICK)  # and the connection is as good as new
    await desk.answer(b"last")
    assert (await read_answer(reader)).body == b"last"
    writer.close()


async def test_two_in_one_piece_go_the_common_way(busy) -> None:
    desk, port = busy
    desk.offered.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(QUICK + PLAIN)
    assert [(await read_answer(reader)).body for _ in range(2)] == [b"got", b"got"]
    assert desk.offered == []
    writer.close()


async def test_a_fault_in_the_quick_way_is_answered(busy) -> None:
    desk, port = busy
    answer = await send(port, GET.replace(b"echo", b"fault") + b"\r\n")
    assert (answer.status, desk.offered[-1]) == (200, "/fault")


@pytest.mark.parametrize(("asked", "told"), [(QUICK, "keep-alive"), (FAST, "close")])
async def test_http_1_0_is_told_what_becomes_of_the_connection(busy, asked, told: str) -> None:
    _, port = busy
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(asked.replace(b"1.1", b"1.0")[:-2] + b"Connection: keep-alive\r\n\r\n")
    async with asyncio.timeout(10):  # the quick way would leave it to the desk, which rests
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    assert f"Connection: {told}\r\n" in head
    writer.close()


async def test_a_client_that_has_gone_costs_nobody_else(busy) -> None:
    desk, port = busy
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(QUICK)
    reply = await desk.owed.get()
    writer.transport.abort()
    await asyncio.sleep(0.05)
    reply(wire(200, "", b"to nobody"))
    assert (await send(port, PLAIN)).body == b"got"


@pytest.mark.parametrize(
    ("asked", "answers"),
    [(PLAIN, 1), (FAST, 1), (PLAIN * 3, 3), (PLAIN * 50, 50), (FAST * 50, 50), (b"GET /ec", 0)],
)
async def test_who_asks_no_more_still_reads_the_answers(busy, asked: bytes, answers: int) -> None:
    _, port = busy
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(asked)
    writer.write_eof()
    read = await reader.read()  # to the end, which comes though nobody closed
    assert read.count(b"HTTP/1.1 200") == answers
    writer.close()


@pytest.mark.parametrize("behind", [b"", PLAIN])
async def test_who_asks_no_more_still_reads_a_quick_answer(busy, behind: bytes) -> None:
    desk, port = busy
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(QUICK)
    reply = await desk.owed.get()
    writer.write(behind)
    writer.write_eof()
    await asyncio.sleep(0.05)
    reply(wire(200, "", b"first"))
    read = await reader.read()
    assert read.count(b"HTTP/1.1 200") == 1 + bool(behind)
    assert read.index(b"first") > 0
    writer.close()


async def test_who_leaves_is_forgotten_at_once() -> None:
    """On the loop that serves in production; a connection kept would count against the bound."""
    assert await asyncio.to_thread(uvloop.run, hurried()) == {200}


async def hurried() -> set[int]:
    bound = Limits(keepalive_seconds=60, connections_max=200, stop_seconds_max=1)
    async with running(bound) as (_, port):
        rounds = await asyncio.gather(*(asyncio.to_thread(hurry, port) for _ in range(4)))
        return set().union(*rounds)


def hurry(port: int) -> set[int]:
    """Ask again and again, 20 at a time, and leave with the answer."""
    told = set()
    for _ in range(100):
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        for client in clients:
            client.sendall(PLAIN)
        for client in clients:
            told.add(int(client.recv(4096)[9:12]))
            client.close()
    return told


async def test_who_is_turned_away_is_no_fault_in_the_log() -> None:
    faults = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: faults.append(context))
    try:
        async with running(Limits(connections_max=1)) as (_, port):
            _, first = await asyncio.open_connection("127.0.0.1", port)
            assert (await send(port, PLAIN)).status == 503
            first.close()
        gc.collect()
    finally:
        loop.set_exception_handler(None)
    assert faults == []


async def test_what_is_refused_early_is_answered_legibly(busy) -> None:
    """A body that follows a refused head would have the answer reset before it is read."""
    _, port = busy
    head = POST + b"X-A: \x01\r\nContent-Length: 16000\r\n\r\n"
    answer = await send(port, head, *[b" " * 4000] * 4, pause=0.05)
    assert (answer.status, answer.closed) == (400, True)


async def test_who_never_reads_is_not_answered_without_end() -> None:
    async with running() as (desk, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**14)
        requests = 5_000
        writer.write(FAST * requests)  # 50 MB of answers, far more than sockets hold
        seen = -1
        while desk.fast_answers != seen:
            seen = desk.fast_answers
            await asyncio.sleep(0.3)
        assert seen < requests
        for _ in range(requests):  # late is not never
            assert (await read_answer(reader)).body == BODY
        writer.close()


async def test_who_takes_no_answer_for_long_is_closed() -> None:
    limits = Limits(keepalive_seconds=1, request_seconds_max=5, stop_seconds_max=5)
    async with running(limits) as (desk, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**14)
        writer.write(FAST * 5_000)
        await asyncio.sleep(3)
        taken = 0
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while (await read_answer(reader)).status == 200:
                taken += 1
        assert taken <= desk.fast_answers < 5_000
        writer.close()


async def test_a_quick_answer_in_flight_at_a_stop_is_given() -> None:
    async with running() as (desk, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(QUICK)
        reply = await desk.owed.get()
        asyncio.get_running_loop().call_later(0.3, reply, wire(200, "", b"finished"))
    assert (await read_answer(reader)).body == b"finished"
    assert await reader.read() == b""
    writer.close()
