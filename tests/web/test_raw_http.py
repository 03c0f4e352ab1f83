"""What the server does with bytes that are no honest request: raw sockets against a real one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
from aiohttp import web

from flashsale.web.body import read_body
from flashsale.web.limiting import UNLIMITED
from flashsale.web.metrics import Metrics
from flashsale.web.middleware import Faults, common_headers, problem_documents
from flashsale.web.server import Limits, serving

GET = b"GET /echo HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
SLOW = Limits(keepalive_seconds=30, request_seconds_max=0.3, stop_seconds_max=2)


class Answer(NamedTuple):
    status: int
    head: str
    body: bytes
    closed: bool

    @property
    def code(self) -> str:
        assert "application/problem+json" in self.head
        return str(json.loads(self.body)["code"])


async def echo(request: web.Request) -> web.Response:
    body = await read_body(request) if request.method == "POST" else b"got"
    return web.Response(body=body)


async def hang_up(port: int, part: bytes) -> None:
    """Send a part of a request, and reset the connection."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(part)
    await writer.drain()
    await asyncio.sleep(0.05)
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


async def broken(_request: web.Request) -> web.Response:
    raise RuntimeError("a secret of ours")


async def slow(_request: web.Request) -> web.Response:
    await asyncio.sleep(0.3)
    return web.Response(text="finished")


@contextlib.asynccontextmanager
async def running(limits: Limits = SLOW) -> AsyncIterator[int]:
    answering = problem_documents(Metrics(), Faults(lambda _: False), UNLIMITED)
    app = web.Application(middlewares=[answering])
    app.on_response_prepare.append(common_headers(0))
    app.router.add_get("/echo", echo)
    app.router.add_post("/echo", echo)
    app.router.add_get("/broken", broken)
    app.router.add_get("/slow", slow)
    async with serving(app, host="127.0.0.1", port=0, limits=limits) as (_, port):
        yield port


@pytest.fixture(scope="module")
async def port() -> AsyncIterator[int]:
    async with running() as port:
        yield port


async def send(port: int, *parts: bytes, pause: float = 0.0) -> Answer:
    """Send the parts, a pause between them, and read one answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for number, part in enumerate(parts):
            await asyncio.sleep(pause if number else 0)
            writer.write(part)
        return await read_answer(reader)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except (asyncio.IncompleteReadError, ConnectionError):
        return Answer(0, "", b"", closed=True)
    length = next(
        int(line.split(":")[1])
        for line in head.split("\r\n")
        if line.lower().startswith("content-length:")
    )
    body = await reader.readexactly(length)
    closed = False
    if "connection: close" in head.lower() or head.startswith("HTTP/1.0"):
        closed = await reader.read() == b""
    return Answer(int(head.split(" ")[1]), head, body, closed)


@pytest.mark.parametrize(
    ("request_bytes", "statuses"),
    [
        (b"GET /echo HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", {400}),
        (b"GET /echo HTTP/1.1\r\n\r\n", {400}),
        (POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", {400}),
        (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}", {400}),
        (POST + b"Content-Length: 2, 2\r\n\r\n{}", {400}),
        (POST + b"Content-Length: +2\r\n\r\n{}", {400}),
        (POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
        (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", {400}),
        (POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", {400}),
        (POST + b"Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n", {400}),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n\r\n", {400}),
        (GET + b"".join(b"X-%d: a\r\n" % n for n in range(128)) + b"\r\n", {400}),
        (GET + b"X-Canary: " + b"a" * 9_000 + b"\r\n\r\n", {431}),
        (b"GET /echo?" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", {431}),
        (GET + b"X-A: b\r\n canary\r\n\r\n", {400}),
        (GET + b"X-A : canary\r\n\r\n", {400}),
        (GET + b"X-A: canary\x00\r\n\r\n", {400}),
        (GET + b"X-A: canary\x01\r\n\r\n", {400}),
        (b"GET /echo HTTP/1.1\nHost: canary\n\n", {400}),
        (b"GET /canary HTTP/9.9\r\nHost: a\r\n\r\n", {400}),
        (b"CANARY /echo HTTP/1.1\r\nHost: a\r\n\r\n", {400}),
        (b"\x16\x03\x01\x02\x00\x01\x00\xfc\r\n\r\n", {400}),
    ],
)
async def test_dishonest_requests_are_refused_and_closed(
    port: int, request_bytes: bytes, statuses: set[int]
) -> None:
    answer = await send(port, request_bytes)
    assert answer.status in statuses
    assert answer.closed
    assert answer.code in {"bad_request", "header_too_large"}
    assert b"canary" not in answer.body.lower()


async def test_the_limits_themselves_are_allowed(port: int) -> None:
    many = await send(port, GET + b"".join(b"X-%d: a\r\n" % n for n in range(127)) + b"\r\n")
    long = await send(port, GET + b"X-A: " + b"a" * 8_000 + b"\r\n\r\n")
    assert (many.status, long.status) == (200, 200)


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (POST + b"Content-Length: 16385\r\n\r\n", 413, "body_too_large"),
        (
            POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"4001\r\n" + b" " * 16385,
            413,
            "body_too",
        ),
        (POST + b"Content-Encoding: br\r\nContent-Length: 2\r\n\r\n{}", 415, "unsupported"),
        (POST + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", 400, "body_malformed"),
        (POST.replace(b"json", b"xml") + b"Content-Length: 2\r\n\r\n{}", 415, "unsupported"),
        (
            POST.replace(b"json", b"json; charset=latin1") + b"Content-Length: 0\r\n\r\n",
            415,
            "unsup",
        ),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", 415, "unsupported"),
        (GET.replace(b"GET", b"DELETE") + b"\r\n", 405, "method_not_allowed"),
        (GET.replace(b"echo", b"nowhere") + b"\r\n", 404, "not_found"),
        (GET.replace(b"echo", b"broken") + b"\r\n", 500, "internal"),
    ],
)
async def test_faults_are_problem_documents(
    port: int, request_bytes: bytes, status: int, code: str
) -> None:
    answer = await send(port, request_bytes)
    assert answer.status == status
    assert answer.code.startswith(code)
    assert json.loads(answer.body)["status"] == status
    assert b"secret" not in answer.body
    for header in (
        "X-Content-Type-Options: nosniff",
        "Cache-Control: no-store",
        "Server: flashsale",
    ):
        assert header in answer.head
    assert ("Allow: GET,HEAD,POST" in answer.head) == (status == 405)


@pytest.mark.parametrize("kind", [b"application/json", b"Application/JSON; charset=UTF-8"])
async def test_json_in_pieces_is_read(port: int, kind: bytes) -> None:
    head = POST.replace(b"application/json", kind) + b"Content-Length: 7\r\n\r\n"
    assert (await send(port, head, b'{"a"', b":1}", pause=0.05)).body == b'{"a":1}'


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ((b"GET /echo HTTP/1.1\r\n", *[b"X: y\r\n"] * 9), 0),
        ((POST + b"Content-Length: 9\r\n\r\n", *[b" "] * 8), 408),
    ],
)
async def test_a_slow_client_is_closed_and_others_are_not(
    port: int, parts: tuple[bytes, ...], status: int
) -> None:
    drip = asyncio.create_task(send(port, *parts, pause=0.1))
    await asyncio.sleep(0.1)
    assert (await send(port, GET + b"\r\n")).body == b"got"
    answer = await drip
    assert (answer.status, answer.closed) == (status, True)


async def test_a_patient_connection_is_kept(port: int) -> None:
    """The control of the test above: it is slowness within a request that closes, not waiting."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(2):
        writer.write(GET + b"\r\n")
        answer = await read_answer(reader)
        assert (answer.body, answer.closed) == (b"got", False)
        await asyncio.sleep(2 * SLOW.request_seconds_max)
    writer.close()


async def test_what_is_in_flight_at_a_stop_is_answered() -> None:
    async with running() as port:
        asked = asyncio.create_task(send(port, GET.replace(b"echo", b"slow") + b"\r\n"))
        await asyncio.sleep(0.1)
    assert (await asked).body == b"finished"
    with pytest.raises(OSError):  # noqa: PT011 - whichever way the system refuses it
        await asyncio.open_connection("127.0.0.1", port)


async def test_connections_past_the_bound_are_turned_away() -> None:
    async with running(Limits(connections_max=1)) as port:
        _, first = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.05)
        answer = await send(port, GET + b"\r\n")
        assert (answer.status, answer.code, answer.closed) == (503, "busy", True)
        first.close()
        await asyncio.sleep(0.05)
        assert (await send(port, GET + b"\r\n")).status == 200


async def test_whoever_hangs_up_in_the_middle_of_a_body_is_no_outage():
    """A phone that loses its signal is not a store that cannot be reached."""
    metrics, outages = Metrics(), []

    def is_outage(error: Exception) -> bool:
        outages.append(error)
        return isinstance(error, OSError)

    answering = problem_documents(metrics, Faults(is_outage), UNLIMITED)
    app = web.Application(middlewares=[answering])
    app.router.add_post("/echo", echo)
    async with serving(app, host="127.0.0.1", port=0, limits=SLOW) as (_, port):
        await hang_up(port, POST + b"Content-Length: 100\r\n\r\n{")
        async with asyncio.timeout(10):
            while b'status="400"' not in metrics.render():
                await asyncio.sleep(0.01)
    assert outages == []
    assert b"recovering" not in metrics.render()
