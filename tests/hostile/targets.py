"""Every parser that strangers can reach, as a function of bytes that fails where it is wrong.

What a target asserts holds for all input: another reader agrees, or what was read writes itself
again, and nothing but a refusal is ever raised. `fuzz.py` and `test_fuzz.py` choose the bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

import stripe
from multidict import CIMultiDict, MultiDict
from standardwebhooks import Webhook

from flashsale.domain.identity import split_order_id
from flashsale.payments.provider import CallbackError, MalformedError, ProviderEvent
from flashsale.payments.providers.sandbox import SandboxProvider
from flashsale.payments.providers.stripe import StripeProvider
from flashsale.sales.errors import ValidationFailedError
from flashsale.sales.queries import _cursor, _read_cursor
from flashsale.stream.codec import PoisonEntryError, decode
from flashsale.web.auth import bearer
from flashsale.web.body import OrderBody, is_sane, parse_json, parse_order_body, validated
from flashsale.web.errors import Problem, ProblemError
from flashsale.web.hot import hot_route
from flashsale.web.idempotency import idempotency_key
from flashsale.web.inputs import page_query, revision_in_if_match
from flashsale.web.render import has_already
from flashsale.web.schemas import OrderForm
from flashsale.web.shipments_csv import parse_shipments
from tests.access.pyjwt_oracle import HEADER, hold_to_pyjwt, sign

SALE = "a" * 12
NOW = 1_800_000_000
SECRET = "whsec_" + "c2VjcmV0" * 4


def hold(true: object) -> None:
    """Fail unless `true`: where what is looked at is a refusal."""
    assert true


def lines_of(data: bytes, count: int) -> list[str]:
    """The first lines as a header's text comes, and the rest: bad UTF-8 as surrogates."""
    text = data.decode("utf-8", "surrogateescape")
    return (text.split("\n", count - 1) + [""] * count)[:count]


def token(data: bytes) -> None:
    """Claims that are well signed; and the bytes as a whole token."""
    hold_to_pyjwt(sign(HEADER, data))
    hold_to_pyjwt(data.decode("latin-1"))


def json_body(data: bytes) -> None:
    """What is read, Python's own reader reads alike; the fast reading is the strict one."""
    try:
        value = parse_json(data)
    except ProblemError as refused:
        strict: object = refused.problem
    else:
        assert is_alike(value, json.loads(data, parse_constant=_no_constant))
        assert is_sane(value, 32)
        strict = _strict(value)
    assert parse_order_body(data) == strict


def _strict(value: Any) -> OrderBody | Problem:
    try:
        form = validated(OrderForm, value)
    except ProblemError as refused:
        return refused.problem
    return OrderBody(form.sku, form.quantity, form.admission_token, form.priority_code)


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} was read")


def is_alike(ours: Any, theirs: Any) -> bool:
    """Whether two readers mean the same; whole numbers past 64 bits are a float to ours."""
    if isinstance(ours, float) and type(theirs) is int:
        return ours == float(theirs) and not -(2**63) <= theirs < 2**64
    if isinstance(ours, list):
        return len(ours) == len(theirs) and all(map(is_alike, ours, theirs))
    if isinstance(ours, dict):
        return list(ours) == list(theirs) and all(is_alike(ours[n], theirs[n]) for n in ours)
    return type(ours) is type(theirs) and ours == theirs


def sandbox(data: bytes) -> None:
    """Three header lines and a body: taken only where the standard's own library takes it."""
    provider = SandboxProvider.__new__(SandboxProvider)  # its connections need a loop
    provider._signers = [Webhook(SECRET)]
    named, stamp, signature, body = lines_of(data, 4)
    raw = body.encode("utf-8", "surrogateescape")
    headers = {"webhook-id": named, "webhook-timestamp": stamp, "webhook-signature": signature}
    assert _verified(provider, headers, raw) is None, "a signature was guessed"
    headers |= {"webhook-id": "evt_1", "webhook-timestamp": str(NOW)}
    if raw.isascii():
        headers["webhook-signature"] = Webhook(SECRET).sign(
            "evt_1", datetime.fromtimestamp(NOW, UTC), body
        )
        event = _verified(provider, headers, raw)
        assert event is None or (event.id, event.payload) == ("evt_1", json.loads(body))


def stripe_webhook(data: bytes) -> None:
    """A header line and a body: refused as they are, and read only where they are an event."""
    provider = StripeProvider.__new__(StripeProvider)
    provider._signature, provider._stripe_error = stripe.WebhookSignature, stripe.StripeError
    provider._secrets = (SECRET,)
    header, body = lines_of(data, 2)
    raw = body.encode("utf-8", "surrogateescape")
    assert _verified(provider, {"stripe-signature": header}, raw) is None
    if raw.isascii():
        signed = stripe.WebhookSignature.generate_signature_header(body, SECRET, NOW)
        event = _verified(provider, {"Stripe-Signature": signed}, raw)
        assert event is None or event.payload == json.loads(body)


def _verified(provider: Any, headers: dict[str, str], raw: bytes) -> ProviderEvent | None:
    try:
        event: ProviderEvent = provider.verify(headers, raw, NOW)
    except MalformedError:
        return None
    except CallbackError:
        return None
    assert all(type(n) is int and 0 <= n < 2**63 for n in (event.amount, event.occurred_at_ms))
    assert type(event.id) is type(event.type) is type(event.currency) is str
    assert all(type(each) in {str, type(None)} for each in (event.ref, event.payment_id))
    return event


def shipments(data: bytes) -> None:
    """Each line is a shipment of the sale that stands in the list, or is named."""
    lines_max = len(re.findall(rb"\r\n|\r|\n", data)) + 1
    try:
        lines = parse_shipments(data, SALE)
    except ValidationFailedError as refused:
        pointers = [error.pointer for error in refused.errors]
        named = [re.fullmatch(r"/lines/(\d+)(/\w+)?", each) for each in pointers]
        hold(named and all(each and 1 <= int(each[1]) <= lines_max for each in named))
        return
    assert lines
    assert len({line.order_id for line in lines}) == len(lines)
    for line in lines:
        parts = split_order_id(line.order_id)
        assert parts is not None
        assert parts[0] == SALE
        assert line.carrier.isprintable()
        assert line.tracking_number.isprintable()
        assert line.order_id.encode() in data


def cursors(data: bytes) -> None:
    """A query string and a cursor: what is read writes itself again, and Postgres can hold it."""
    text = data.decode("utf-8", "replace")
    query: Any = MultiDict(parse_qsl(text, keep_blank_values=True))
    try:
        page = page_query(SimpleNamespace(query=query))  # type: ignore[arg-type]
    except ProblemError as refused:
        hold(refused.problem.code == "validation_failed")
    else:
        assert 1 <= page.limit <= 500
        assert page.cursor is None or page.cursor.isprintable()
    for each in (text, _cursor(7, text) if text.isascii() else ""):
        try:
            place, last = _read_cursor(each)
        except ValidationFailedError:
            continue
        assert _cursor(place, last) == each
        assert "\0" not in last
        assert abs(place) < 2**63


def headers(data: bytes) -> None:
    """Headers of any text: a value or a refusal."""
    named = CIMultiDict()
    for name, line in zip(
        ("Idempotency-Key", "Idempotency-Key", "Authorization", "If-Match", "If-None-Match"),
        lines_of(data, 5),
        strict=True,
    ):
        if line:
            named.add(name, line)
    key = idempotency_key(named)
    if not isinstance(key, Problem):
        assert re.fullmatch(r"[\x20-\x7e]{1,255}", key)
    presented = bearer(named)
    assert presented is None or presented in named["Authorization"]
    has_already(named.get("If-None-Match"), '"tag"')
    try:
        revision = revision_in_if_match(SimpleNamespace(headers=named))  # type: ignore[arg-type]
    except ProblemError as refused:
        hold(refused.problem.code in {"precondition_required", "stale_edit"})
    else:
        assert f'"{revision}"' == re.sub(r'"0+(?=\d)', '"', named["If-Match"].strip())


def names(data: bytes) -> None:
    """Order ids and hot paths: only what could be ours, and never a part of it."""
    text = data.decode("utf-8", "surrogateescape")
    parts = split_order_id(text)
    assert (parts is not None) == bool(re.fullmatch(r"[a-z2-7]{12}[A-Za-z0-9_-]{20}", text))
    assert parts is None or "".join(parts) == text
    for method in ("GET", "POST"):
        found = hot_route(method, text)
        assert found is None or found[0].replace("{sale}", found[1]) == text


def entries(data: bytes) -> None:
    """Lines of a stream's entry: decoded whole, line by line, or poison."""
    seq, epoch, at_ms, available, events = lines_of(data, 5)
    fields = {"seq": seq, "epoch": epoch, "at_ms": at_ms, "available": available}
    try:
        entry = decode("1-0", fields | {"events": events})
    except PoisonEntryError:
        return
    written = [
        f"{e.kind}\t{e.version}\t{e.order}\t{e.item}\t{e.quantity}\t{e.deadline_ms}\t{e.buyer}"
        for e in entry.orders
    ]
    lines = events.split("\n")
    assert len(entry.orders) + len(entry.sales) == len(lines)
    assert [line for line in lines if line[:1].isupper()] == written or any(
        re.search(r"\t0\d", line) for line in lines
    )
    assert (entry.seq, entry.epoch, entry.at_ms) == (int(seq), int(epoch), int(at_ms))


TARGETS: dict[str, Callable[[bytes], None]] = {
    each.__name__: each
    for each in (
        token,
        json_body,
        sandbox,
        stripe_webhook,
        shipments,
        cursors,
        headers,
        names,
        entries,
    )
}
