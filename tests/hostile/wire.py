"""Bytes to a server and whole answers back, over a socket of our own: no client mends them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any, NamedTuple

#: Asks to be the last: behind anything that is taken, the server answers it and closes.
LAST = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


class Answer(NamedTuple):
    """One answer as it came."""

    status: int
    head: str
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def read_answer(reader: asyncio.StreamReader) -> Answer | None:
    """The next answer; None where the connection ends instead."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    status = int(head.split(" ")[1])
    lines = [line.lower().partition(":") for line in head.split("\r\n")]
    length = next((int(value) for name, _, value in lines if name == "content-length"), 0)
    return Answer(status, head, await reader.readexactly(0 if status == 304 else length))


async def _read_all(reader: asyncio.StreamReader) -> list[Answer]:
    answers = []
    while (answer := await read_answer(reader)) is not None:
        answers.append(answer)
    return answers


async def exchange(port: int, *parts: bytes, pause: float = 0.0) -> list[Answer]:
    """Send the parts; every answer up to the end of the connection, which the server makes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    reading = asyncio.create_task(_read_all(reader))
    try:
        for number, part in enumerate(parts):
            if number:
                await asyncio.sleep(pause)
            if reading.done():  # the server has had enough
                break
            writer.write(part)
        async with asyncio.timeout(60):  # a server that neither answers nor closes fails the test
            return await reading
    finally:
        reading.cancel()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def statuses(port: int, *parts: bytes) -> list[int]:
    """The statuses of every answer to the parts with a last honest request behind them."""
    return [answer.status for answer in await exchange(port, *parts, LAST)]
