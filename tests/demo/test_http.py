from __future__ import annotations

import pytest

from flashsale.demo.http import (
    Address,
    AnswerReader,
    MalformedAnswerError,
    OrderRequests,
    read_request,
)

WHOLE = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nServer: x\r\n\r\n{}"


def test_an_order_is_a_whole_request() -> None:
    orders = OrderRequests(Address("127.0.0.1", 80), "abcdefghijkl", "phone", 2)

    head, body = orders.request("a.b.c", "key-1").split(b"\r\n\r\n")

    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /v1/sales/abcdefghijkl/orders HTTP/1.1"
    assert b"Authorization: Bearer a.b.c" in lines
    assert b"Idempotency-Key: key-1" in lines
    assert b"Content-Length: %d" % len(body) in lines
    assert body == b'{"sku":"phone","quantity":2}'


def test_a_read_names_its_host() -> None:
    assert read_request(Address("shop", 8080), "/v1/time") == (
        b"GET /v1/time HTTP/1.1\r\nHost: shop:8080\r\n\r\n"
    )


@pytest.mark.parametrize("url", ["https://shop", "shop:8080", "http://"])
def test_only_plain_http_has_an_address(url: str) -> None:
    with pytest.raises(ValueError, match="http:// URL"):
        Address.of(url)


@pytest.mark.parametrize("cut", range(len(WHOLE)))
def test_an_answer_may_arrive_in_two_pieces(cut: int) -> None:
    reader = AnswerReader()

    assert reader.feed(WHOLE[:cut]) is None
    answer = reader.feed(WHOLE[cut:])

    assert answer == (201, b"{}", True)
    assert reader.feed(WHOLE) == answer


@pytest.mark.parametrize(
    ("bytes_received", "answer"),
    [
        (b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", (304, b"", True)),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nCONNECTION: Close\r\n\r\n", (200, b"", False)),
    ],
)
def test_heads_are_read_in_any_case(bytes_received: bytes, answer: tuple[object, ...]) -> None:
    assert AnswerReader().feed(bytes_received) == answer


@pytest.mark.parametrize(
    "bytes_received",
    [
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
        b"x" * 20_000,
    ],
)
def test_what_is_no_answer_is_refused(bytes_received: bytes) -> None:
    with pytest.raises(MalformedAnswerError):
        AnswerReader().feed(bytes_received)
