"""HTTP/1.1 as bytes, for load tools: requests written whole, answers read with the least work.

It talks to servers of ours only. One request is in flight on a connection at a time, so an answer
ends where its Content-Length says; what has none (chunked bodies, streams) is refused, not guessed.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

import orjson

HEAD_MAX_BYTES = 16_384


class MalformedAnswerError(Exception):
    """The server sent what is not a complete HTTP/1.1 answer with a Content-Length."""


class Answer(NamedTuple):
    """One answer; `keep_alive` is False where the server closes the connection behind it."""

    status: int
    body: bytes
    keep_alive: bool


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    @classmethod
    def of(cls, base_url: str) -> Address:
        """The address in an `http://` URL; ValueError for another scheme or no host."""
        parts = urlsplit(base_url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"{base_url} is not an http:// URL with a host")
        return cls(parts.hostname, parts.port or 80)


def read_request(address: Address, path: str) -> bytes:
    """A GET of a public page, whole."""
    return f"GET {path} HTTP/1.1\r\nHost: {address.host}:{address.port}\r\n\r\n".encode()


class OrderRequests:
    """Orders of one body for one sale; only the buyer's token and the idempotency key differ."""

    __slots__ = ("_body", "_head")

    def __init__(self, address: Address, sale: str, sku: str, quantity: int = 1) -> None:
        body = orjson.dumps({"sku": sku, "quantity": quantity})
        self._head = (
            f"POST /v1/sales/{sale}/orders HTTP/1.1\r\nHost: {address.host}:{address.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            "Authorization: Bearer "
        )
        self._body = "\r\n\r\n" + body.decode()

    def request(self, token: str, idempotency_key: str) -> bytes:
        """One order, whole."""
        return f"{self._head}{token}\r\nIdempotency-Key: {idempotency_key}{self._body}".encode()


class AnswerReader:
    """Puts the answers of one connection together from what arrives."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> Answer | None:
        """The answer, once it is whole; MalformedAnswerError where it never will be."""
        if self._held:
            data = self._held + data
        head_ends = data.find(b"\r\n\r\n")
        if head_ends < 0:
            if len(data) > HEAD_MAX_BYTES:
                raise MalformedAnswerError("the head of an answer does not end")
            self._held = data
            return None
        head = data[:head_ends].lower() + b"\r\n"
        body_starts = head_ends + 4
        whole = body_starts + _content_length(head)
        if len(data) < whole:
            self._held = data
            return None
        if len(data) > whole:
            raise MalformedAnswerError("an answer is longer than its Content-Length")
        self._held = b""
        return Answer(int(head[9:12]), data[body_starts:], b"\r\nconnection: close\r\n" not in head)


def _content_length(head: bytes) -> int:
    """The length that a lower-case head announces; 304 and 204 have no body."""
    if not head.startswith(b"http/1.1 ") or not head[9:12].isdigit():
        raise MalformedAnswerError("this is not an HTTP/1.1 answer")
    at = head.find(b"\r\ncontent-length: ")
    if head[9:12] in {b"204", b"304"}:
        return 0
    if at < 0:
        raise MalformedAnswerError("an answer has no Content-Length")
    value = head[at + 18 : head.index(b"\r\n", at + 18)]
    if not value.isdigit():
        raise MalformedAnswerError("a Content-Length is not a number")
    return int(value)
