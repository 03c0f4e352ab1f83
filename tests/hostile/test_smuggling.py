"""Where one request ends: nothing that proxies and servers read differently is taken.

Each row is a request with a whole one hidden in or behind it, and then an honest last one. Where
the first is refused the connection ends with that answer: neither of the others is ever heard.
"""

from __future__ import annotations

import pytest

from tests.hostile.wire import LAST, exchange, statuses
from tests.web.house import House

HIDDEN = b"GET /v1/time HTTP/1.1\r\nHost: a\r\n\r\n"
GET = b"GET /v1/time HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /v1/orders/x/cancel HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def coded(value: bytes) -> bytes:
    return POST + b"Transfer-Encoding: " + value + b"\r\n\r\n" + END


def long(value: bytes) -> bytes:
    return POST + b"Content-Length: " + value + b"\r\n\r\n"


REFUSED = {
    "CL.TE": POST + b"Content-Length: 44\r\nTransfer-Encoding: chunked\r\n\r\n" + END,
    "TE.CL": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + END,
    "CL.TE nothing": POST + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n" + END,
    "TE unknown": coded(b"xchunked"),
    "TE vertical tab": coded(b"\x0bchunked"),
    "TE NUL": coded(b"chunked\0"),
    "TE quoted": coded(b'"chunked"'),
    "TE parameter": coded(b"chunked;q=1"),
    "TE comma behind": coded(b"chunked,"),
    "TE identity": coded(b"identity"),
    "TE identity last": coded(b"chunked, identity"),
    "TE chunked twice": coded(b"chunked, chunked"),
    "TE empty": coded(b""),
    "TE lines differ": coded(b"chunked\r\nTransfer-Encoding: identity"),
    "TE lines differ, reversed": coded(b"identity\r\nTransfer-Encoding: chunked"),
    "TE lines agree": coded(b"chunked\r\nTransfer-Encoding: chunked"),
    "TE space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n" + END,
    "TE tab before the colon": POST + b"Transfer-Encoding\t: chunked\r\n\r\n" + END,
    "TE folded": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + END,
    "TE in HTTP/1.0": coded(b"chunked").replace(b"1.1", b"1.0"),
    "CL twice": long(b"0\r\nContent-Length: 0"),
    "CL contradicting": long(b"0\r\nContent-Length: 5"),
    "CL list": long(b"0, 0"),
    "CL plus": long(b"+0"),
    "CL minus": long(b"-1"),
    "CL hexadecimal": long(b"0x0"),
    "CL underscore": long(b"1_0"),
    "CL full-width digit": long("\N{FULLWIDTH DIGIT ZERO}".encode()),
    "CL empty": long(b""),
    "CL beyond 64 bits": long(b"9" * 30),
    "chunk without CRLF": CHUNKED + b"1\r\nab" + END,
    "chunk longer than told": CHUNKED + b"1\r\nabc\r\n" + END,
    "chunk size plus": CHUNKED + b"+0\r\n\r\n",
    "chunk size minus": CHUNKED + b"-0\r\n\r\n",
    "chunk size 0x": CHUNKED + b"0x0\r\n\r\n",
    "chunk size underscore": CHUNKED + b"0_0\r\n\r\n",
    "chunk size space before": CHUNKED + b" 0\r\n\r\n",
    "chunk size space behind": CHUNKED + b"0 \r\n\r\n",
    "chunk size empty": CHUNKED + b"\r\n\r\n",
    "chunk size beyond 64 bits": CHUNKED + b"f" * 20 + b"\r\n",
    "chunk bare line feed": CHUNKED + b"0\n\n",
    "chunk bare line feed last": CHUNKED + b"0\r\n\n",
    "chunk bare return": CHUNKED + b"0\r\r",
    "chunk extension bare line feed": CHUNKED + b"0;a\n\r\n\r\n",
    "chunk extension quoted line": CHUNKED + b'0;a="b\r\n"\r\n\r\n',
    "trailer of framing": CHUNKED + b"0\r\nContent-Length: 5\r\n\r\n",
    "trailers without end": CHUNKED + b"0\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(999)),
    "bare line feeds": b"GET /v1/time HTTP/1.1\nHost: a\n\n",
    "one bare line feed": GET + b"X: y\nZ: z\r\n\r\n",
    "bare return": GET + b"X: y\rZ: z\r\n\r\n",
    "space before the colon": GET + b"X : y\r\n\r\n",
    "folded line": GET + b"X: y\r\n z\r\n\r\n",
    "folded first line": b"GET /v1/time HTTP/1.1\r\n Host: a\r\n\r\n",
    "header without a name": GET + b": y\r\n\r\n",
    "header without a colon": GET + b"X\r\n\r\n",
    "8-bit header name": GET + b"X\xe9: y\r\n\r\n",
    "NUL in a value": GET + b"X: a\0b\r\n\r\n",
    "no Host": b"GET /v1/time HTTP/1.1\r\n\r\n",
    "two Hosts": GET + b"Host: b\r\n\r\n",
    "HTTP/0.9": b"GET /v1/time\r\n",
    "HTTP/0.9, ended": b"GET /v1/time\r\n\r\n",
    "HTTP/1.2": b"GET /v1/time HTTP/1.2\r\nHost: a\r\n\r\n",
    "HTTP/2.0": b"GET /v1/time HTTP/2.0\r\nHost: a\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "protocol in small letters": b"GET /v1/time http/1.1\r\nHost: a\r\n\r\n",
    "method in small letters": b"get /v1/time HTTP/1.1\r\nHost: a\r\n\r\n",
    "method with a bracket": b"G(T /v1/time HTTP/1.1\r\nHost: a\r\n\r\n",
    "tabs for spaces": b"GET\t/v1/time\tHTTP/1.1\r\nHost: a\r\n\r\n",
    "space in the path": b"GET /v1/ time HTTP/1.1\r\nHost: a\r\n\r\n",
    "NUL in the path": b"GET /v1/\0time HTTP/1.1\r\nHost: a\r\n\r\n",
    "8-bit path": b"GET /v1/sales/" + b"\xff" * 12 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "8-bit query": b"GET /v1/sales?cursor=\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    "authority form": b"GET evil:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute form, no address": b"GET http://[::1/v1/time HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute form, no port": b"GET http://u:p@evil:99999/v1/time HTTP/1.1\r\nHost: a\r\n\r\n",
    "more behind Connection: close": GET + b"Connection: close\r\n\r\n",
    "more behind HTTP/1.0": b"GET /v1/time HTTP/1.0\r\n\r\n",
}


@pytest.mark.parametrize("sent", REFUSED.values(), ids=REFUSED)
async def test_what_can_be_read_two_ways_is_refused_and_closed(port: int, sent: bytes) -> None:
    answers = await exchange(port, sent + HIDDEN, LAST)
    assert [answer.status for answer in answers] == [400]
    assert answers[0].json["code"] == "bad_request"


#: What RFC 9112 allows, or what all servers read alike, with the answer to the first request.
TAKEN = {
    "TE in capitals": (coded(b"Chunked"), 401),
    "TE tab before": (coded(b"\tchunked"), 401),
    "TE empty element": (coded(b",chunked"), 401),
    "TE chunked last": (coded(b"gzip, chunked"), 401),
    "TE with an underscore is another name": (
        POST + b"Transfer_Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
        401,
    ),
    "CL with spaces": (long(b"\t 0 "), 401),
    "CL with zeros": (long(b"000"), 401),
    "chunk extension": (CHUNKED + b'0;a=b;c="d"\r\n\r\n', 401),
    "long chunk extension": (CHUNKED + b"0;" + b"a" * 50_000 + b"\r\n\r\n", 401),
    "empty lines before": (b"\r\n\r\n" + GET + b"\r\n", 200),
    "8-bit value": (GET + b"X: \xe9\xff\r\n\r\n", 200),
    "absolute form": (b"GET http://evil/v1/time HTTP/1.1\r\nHost: a\r\n\r\n", 200),
    "absolute form of a hot path": (
        b"GET http://evil/v1/sales/aaaaaaaaaaaa HTTP/1.1\r\nHost: a\r\n\r\n",
        404,
    ),
    "two slashes are no host": (b"GET //evil/v1/time HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    "TRACE": (b"TRACE /v1/time HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "another method in a header": (GET + b"X-HTTP-Method-Override: DELETE\r\n\r\n", 200),
    "another path in a header": (GET + b"X-Original-URL: /v1/merchant/sales\r\n\r\n", 200),
    "Expect nobody knows": (POST + b"Expect: 200-ok\r\nContent-Length: 0\r\n\r\n", 417),
}


@pytest.mark.parametrize(("sent", "status"), TAKEN.values(), ids=TAKEN)
async def test_what_has_one_reading_ends_where_it_should(
    port: int, sent: bytes, status: int
) -> None:
    """The control of the refusals: here the hidden request, and the last, are heard as such."""
    assert await statuses(port, sent + HIDDEN) == [status, 200, 200]


@pytest.mark.parametrize("framing", [b"Content-Length: 34\r\n\r\n", b"", b"chunked"])
async def test_a_body_is_never_a_request(port: int, framing: bytes) -> None:
    """An unread body is dropped whole, also that of a GET and of a refused call."""
    assert len(HIDDEN) == 34
    if framing == b"chunked":
        sent = CHUNKED + b"22\r\n" + HIDDEN + b"\r\n" + END
        assert await statuses(port, sent) == [401, 200]
    elif framing:
        assert await statuses(port, POST + framing + HIDDEN) == [401, 200]
        assert await statuses(port, GET + framing + HIDDEN) == [200, 200]
    else:  # without framing there is no body: what follows is a request
        assert await statuses(port, POST + b"\r\n" + HIDDEN) == [401, 200, 200]


UPGRADES = {
    "h2c": GET
    + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n\r\n",
    "websocket": GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "unknown": GET + b"Connection: upgrade\r\nUpgrade: spdy/3\r\n\r\n",
    "with a body": POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n",
    "hot": b"GET /v1/sales/aaaaaaaaaaaa HTTP/1.1\r\nHost: a\r\n"
    b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "tunnel": b"CONNECT evil:80 HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("pause", [0.0, 0.05])
@pytest.mark.parametrize("sent", UPGRADES.values(), ids=UPGRADES)
async def test_who_asks_for_another_protocol_is_answered_in_ours_and_closed(
    port: int, sent: bytes, pause: float
) -> None:
    """The half of a request that stands behind it must not be lost, and the rest become one."""
    half = b"POST /v1/time HTTP/1.1\r\nHost: a\r\nX: "
    answers = await exchange(port, sent + half, HIDDEN, LAST, pause=pause)
    assert [answer.status for answer in answers] in ([200], [401], [404])


@pytest.mark.parametrize("bad", [b"GET / HTTP/9.9\r\n\r\n", POST + b"Content-Length: x\r\n\r\n"])
async def test_nothing_is_heard_behind_an_error(house: House, port: int, bad: bytes) -> None:
    """An order in front of the error is answered, one behind it is never placed."""
    sale, buyer = await house.sale(), house.buyer()
    value = b'{"sku":"mi3-16","quantity":1}'

    def order(key: bytes) -> bytes:
        head = b"POST /v1/sales/%b/orders HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n"
        more = (
            b"Content-Type: application/json\r\nIdempotency-Key: %b\r\nContent-Length: %d\r\n\r\n"
        )
        filled = head % (sale.encode(), house.token(buyer).encode())
        return filled + more % (key, len(value)) + value

    answers = await exchange(port, order(b"front"), bad + order(b"behind"), LAST, pause=0.2)
    assert [answer.status for answer in answers] == [201, 400]
    stock = await house.shop.store.snapshot(sale, 0)
    assert stock.stock[0].held == 1
    alone = await exchange(port, order(b"behind"), LAST)
    assert [answer.status for answer in alone] == [201, 200]


WEBHOOK = b"POST /v1/providers/sandbox/webhooks HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
#: A header as bytes that are no UTF-8: request line and headers, and the one answer.
EIGHT_BIT = {
    "buyer token": (b"GET /v1/orders HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \xff", 401),
    "API key": (
        b"GET /v1/merchant/sales HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer fs_\xff",
        401,
    ),
    "If-None-Match": (b"GET /v1/sales HTTP/1.1\r\nHost: a\r\nIf-None-Match: \xff", 200),
    "Content-Type": (POST + b"Content-Length: 0\r\nContent-Type: \xff/\xfe; charset=\xff", 401),
    "signature": (
        WEBHOOK + b"webhook-id: a\r\nwebhook-timestamp: 1\r\nwebhook-signature: v1,\xff",
        401,
    ),
    "event": (
        WEBHOOK + b"webhook-id: \xff\r\nwebhook-timestamp: 1\r\nwebhook-signature: v1,a",
        401,
    ),
    "stamp": (
        WEBHOOK + b"webhook-id: a\r\nwebhook-timestamp: \xff\r\nwebhook-signature: v1,a",
        401,
    ),
}


@pytest.mark.parametrize(("sent", "status"), EIGHT_BIT.values(), ids=EIGHT_BIT)
async def test_bytes_that_are_no_text_are_no_fault_of_ours(
    port: int, sent: bytes, status: int
) -> None:
    body = b"{}" if sent.startswith(WEBHOOK) else b""
    assert await statuses(port, sent + b"\r\n\r\n" + body) == [status, 200]
