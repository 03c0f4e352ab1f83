"""Bodies: what is read, what is refused and by which code."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsale.web.body import (
    BODY_MAX_BYTES,
    DEPTH_MAX,
    OrderBody,
    inflate,
    parse_json,
    parse_order_body,
    validated,
)
from flashsale.web.errors import Problem, ProblemError
from flashsale.web.schemas import OrderForm


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b'{"sku":"a",}',
        b'{"sku":"a"} {}',
        b'{"sku":"a","sku":"a"}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":1,"\\u0061":2}',
        b'{"quantity":NaN}',
        b'{"quantity":Infinity}',
        b'{"quantity":1e999}',
        b'{"sku":"\xff"}',
        b'{"sku":"\xed\xa0\x80"}',
        b'{"sku":"\\ud800"}',
        b'{"sku":"a\x00"}',
        b'{"sku":"a\\u0000"}',
        b'{"a\\u0000":1}',
        b'["a\\u0000"]',
        b"\xef\xbb\xbf{}",
        '{"sku":"a"}'.encode("utf-16"),
        b"'sku'",
        b"1" * 5000,
        nested(DEPTH_MAX + 1),
        nested(2000),
        b'{"a":' * (DEPTH_MAX + 1) + b"1" + b"}" * (DEPTH_MAX + 1),
    ],
)
def test_what_two_readers_could_disagree_on_is_malformed(raw: bytes) -> None:
    with pytest.raises(ProblemError) as refused:
        parse_json(raw)
    assert refused.value.problem.code == "body_malformed"
    order = parse_order_body(raw)
    assert isinstance(order, Problem)
    assert order.code == "body_malformed"


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b' {"a" : [1, 2.5, true, null, "\\u00e9 \xc3\xa9"]} ', {"a": [1, 2.5, True, None, "é é"]}),
        (b'{"a":{"b":1},"c":{"b":1}}', {"a": {"b": 1}, "c": {"b": 1}}),
        (b'"\\\\u0000"', "\\u0000"),
        (nested(DEPTH_MAX), parse_json(nested(DEPTH_MAX))),
    ],
)
def test_plain_json_is_read(raw: bytes, value: object) -> None:
    assert parse_json(raw) == value


@pytest.mark.parametrize(
    ("raw", "pointers"),
    [
        (b"[]", [""]),
        (b"1", [""]),
        (b"null", [""]),
        (b"{}", ["/sku", "/quantity"]),
        (b'{"sku":"a"}', ["/quantity"]),
        (b'{"sku":"a","quantity":0}', ["/quantity"]),
        (b'{"sku":"a","quantity":-1}', ["/quantity"]),
        (b'{"sku":"a","quantity":1.5}', ["/quantity"]),
        (b'{"sku":"a","quantity":true}', ["/quantity"]),
        (b'{"sku":"a","quantity":"1"}', ["/quantity"]),
        (b'{"sku":"a","quantity":null}', ["/quantity"]),
        (b'{"sku":"a","quantity":[1]}', ["/quantity"]),
        (b'{"sku":"a","quantity":9007199254740993}', ["/quantity"]),
        (b'{"sku":"a","quantity":18446744073709551617}', ["/quantity"]),
        (b'{"sku":"a","quantity":1e300}', ["/quantity"]),
        (b'{"sku":"","quantity":1}', ["/sku"]),
        (b'{"sku":7,"quantity":1}', ["/sku"]),
        (b'{"sku":" a","quantity":1}', ["/sku"]),
        (b'{"sku":"a\\n","quantity":1}', ["/sku"]),
        (b'{"sku":"%s","quantity":1}' % (b"a" * 65), ["/sku"]),
        (b'{"sku":"a","quantity":1,"price":1}', ["/price"]),
        (b'{"sku":"a","quantity":1,"priority_code":7}', ["/priority_code"]),
        (b'{"sku":"a","quantity":1,"<script>":1}', [""]),
        (b'{"sku":"a","quantity":1,"a/b~":1}', [""]),
        (b'{"sku":7,"quantity":0,"x":1}', ["/sku", "/quantity", "/x"]),
    ],
)
def test_an_order_names_each_field_at_fault(raw: bytes, pointers: list[str]) -> None:
    refused = parse_order_body(raw)
    assert isinstance(refused, Problem)
    assert (refused.code, refused.status) == ("validation_failed", 422)
    assert [error["pointer"] for error in refused.extra["errors"]] == pointers


@pytest.mark.parametrize(
    ("raw", "order"),
    [
        (b'{"sku":"a","quantity":1}', OrderBody("a", 1)),
        (b'{ "quantity" : 2 , "sku" : "a" }', OrderBody("a", 2)),
        (b'{"sku":"a","quantity":1.0}', OrderBody("a", 1)),
        (b'{"sku":"a:b","quantity":1}', OrderBody("a:b", 1)),
        (b'{"sku":"a","quantity":1000000000}', OrderBody("a", 1_000_000_000)),
        (
            b'{"sku":"a","quantity":1,"admission_token":"t","priority_code":"c"}',
            OrderBody("a", 1, "t", "c"),
        ),
        (b'{"sku":"a","quantity":1,"priority_code":null}', OrderBody("a", 1)),
    ],
)
def test_an_order_is_read(raw: bytes, order: OrderBody) -> None:
    assert parse_order_body(raw) == order


_names = st.sampled_from(["sku", "quantity", "admission_token", "extra", "s\\u006bu"])
_values = st.sampled_from(
    [
        '"a"',
        '"a:b"',
        '""',
        '" a"',
        '"\\u0000"',
        "1",
        "1.0",
        "0",
        "-1",
        "true",
        "null",
        "[]",
        '{"a":1}',
    ]
)


@given(st.lists(st.tuples(_names, _values), max_size=4))
def test_the_fast_reading_of_an_order_is_the_strict_one(members: list[tuple[str, str]]) -> None:
    raw = ("{" + ",".join(f'"{name}":{value}' for name, value in members) + "}").encode()
    try:
        form = validated(OrderForm, parse_json(raw))
        strict: object = OrderBody(
            form.sku, form.quantity, form.admission_token, form.priority_code
        )
    except ProblemError as error:
        strict = error.problem
    assert parse_order_body(raw) == strict


def test_gzip_is_unpacked_under_a_bound() -> None:
    assert inflate(gzip.compress(b"{}", mtime=0)) == b"{}"
    assert len(inflate(gzip.compress(b" " * BODY_MAX_BYTES, mtime=0))) == BODY_MAX_BYTES


@pytest.mark.parametrize(
    ("packed", "code"),
    [
        (gzip.compress(b" " * (BODY_MAX_BYTES + 1), mtime=0), "body_too_large"),
        (gzip.compress(b"\0" * 10_000_000, mtime=0), "body_too_large"),
        (gzip.compress(b"{}", mtime=0)[:-1], "body_malformed"),
        (gzip.compress(b"{}", mtime=0) + b"x", "body_malformed"),
        (gzip.compress(b"{}", mtime=0) * 2, "body_malformed"),
        (zlib.compress(b"{}"), "body_malformed"),
        (b"", "body_malformed"),
        (b"{}", "body_malformed"),
    ],
)
def test_other_gzip_is_refused(packed: bytes, code: str) -> None:
    with pytest.raises(ProblemError) as refused:
        inflate(packed)
    assert refused.value.problem.code == code
