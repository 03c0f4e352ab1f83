"""Answers written straight to the connection, for the hot routes; never anything that streams.

aiohttp's Response builds header maps that the next line turns into bytes again. Here the bytes are
made once: a head for each status and the body behind it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import cast

from aiohttp import HttpVersion11, web

#: An answer: status, header lines, body.
Parts = tuple[int, str, bytes]


def header_lines(headers: Mapping[str, str]) -> str:
    """Header fields as the lines that `wire` takes."""
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


@lru_cache(maxsize=256)
def _head(second: int, status: int, fields: str) -> bytes:
    lines = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nDate: {_date(second)}\r\n{fields}"
    return f"{lines}Content-Length: ".encode("latin-1")


def wire(status: int, fields: str, body: bytes, *, keep_alive: bool = True) -> bytes:
    """A whole answer; `fields` are header lines as `FastResponse` takes them."""
    ending = b"\r\n\r\n" if keep_alive else b"\r\nConnection: close\r\n\r\n"
    return b"%b%d%b%b" % (_head(int(time.time()), status, fields), len(body), ending, body)


class FastResponse:
    """A whole answer as bytes; quacks like the part of StreamResponse that the server calls.

    `fields` are header lines, each ended by CRLF, without Date, Content-Length and Connection.
    """

    __slots__ = ("_parts", "_writer", "body_length", "keep_alive", "status")

    def __init__(self, status: int, fields: str, body: bytes) -> None:
        self.status = status
        self.body_length = len(body)
        self.keep_alive: bool | None = True
        self._parts = status, fields, body

    async def prepare(self, request: web.BaseRequest) -> None:
        """Decide what the connection becomes; nothing is written yet."""
        # HTTP/1.0 keeps a connection only where the answer says so, and these answers do not.
        self.keep_alive = request.keep_alive and request.version >= HttpVersion11
        self._writer = request.writer

    async def write_eof(self) -> None:
        """Write everything at once; who does not take its answers waits for the next one."""
        transport = self._writer.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone")
        transport.write(wire(*self._parts, keep_alive=bool(self.keep_alive)))
        await self._writer.drain()


def fast(status: int, fields: str, body: bytes) -> web.StreamResponse:
    """A `FastResponse` under the type that aiohttp's handlers return."""
    return cast("web.StreamResponse", FastResponse(status, fields, body))
