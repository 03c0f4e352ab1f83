"""Callbacks of payment providers: every line of the contract about them, over HTTP."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from flashsale.payments.provider import STAMP_SECONDS_MAX
from flashsale.web.api.provider_webhooks import CALLBACK_MAX_BYTES
from tests.sandbox.house import NEW_SECRET, SECRET
from tests.web.house import House, Reply
from tests.web.till import callback, signed

PATH = "/v1/providers/sandbox/webhooks"
STRANGER = "whsec_" + "c3RyYW5nZXI" * 4


async def send(house: House, headers: dict[str, str], body: bytes, path: str = PATH) -> Reply:
    return await house.call("POST", path, data=body, headers=headers)


async def tell(house: House, event: dict[str, Any], **how: Any) -> Reply:
    return await house.tell(event, **how)


async def payment_of(house: House) -> dict[str, Any]:
    """A payment that a buyer has begun; nobody has paid it."""
    sale, buyer = await house.sale(), house.buyer()
    begun = await house.pay(await house.buy(sale, buyer), buyer)
    assert begun.status == 201, begun.text
    return begun.json


async def ledger(house: House, payment: dict[str, Any]) -> list[tuple[str, str]]:
    rows = await house.shop.pool.fetch(
        "SELECT kind, state FROM ledger_entries WHERE payload ->> 'payment_id' = $1"
        " ORDER BY received_at",
        payment["id"],
    )
    return [(row["kind"], row["state"]) for row in rows]


async def captured(house: House, payment: dict[str, Any]) -> int:
    found = await house.shop.pool.fetchval(
        "SELECT captured FROM payments WHERE id = $1", payment["id"]
    )
    return int(found)


async def test_a_callback_is_taken_once_however_often_it_comes(house: House) -> None:
    payment = await payment_of(house)
    event = callback("captured", payment)
    first = await tell(house, event)
    assert (first.status, first.json) == (200, {"outcome": "applied"})
    twins = await asyncio.gather(*(tell(house, event) for _ in range(8)))
    assert {(twin.status, twin.json["outcome"]) for twin in twins} == {(200, "duplicate")}
    assert await ledger(house, payment) == [("captured", "applied")]
    assert await captured(house, payment) == payment["amount"]["amount"]


async def test_twins_at_once_have_one_effect(house: House) -> None:
    payment = await payment_of(house)
    event = callback("captured", payment)
    twins = await asyncio.gather(*(tell(house, event) for _ in range(8)))
    assert sorted(twin.json["outcome"] for twin in twins) == ["applied"] + ["duplicate"] * 7
    assert await captured(house, payment) == payment["amount"]["amount"]


def _without(name: str):
    return lambda headers, body: ({n: v for n, v in headers.items() if n != name}, body)


def _with(name: str, value: str):
    return lambda headers, body: ({**headers, name: value}, body)


FORGED = {
    "no signature": _without("webhook-signature"),
    "no id": _without("webhook-id"),
    "no stamp": _without("webhook-timestamp"),
    "an empty signature": _with("webhook-signature", ""),
    "a made-up signature": _with("webhook-signature", "v1,bm90IHNpZ25lZA=="),
    "another version": _with("webhook-signature", "v2,bm90IHNpZ25lZA=="),
    "another id": _with("webhook-id", "evt_other"),
    "another stamp": _with("webhook-timestamp", str(int(time.time()) + 1)),
    "a stamp of words": _with("webhook-timestamp", "now"),
    "another body": lambda headers, body: (headers, body.replace(b"captured", b"declined")),
    "one space more": lambda headers, body: (headers, body + b" "),
    "serialised again": lambda headers, body: (
        headers,
        json.dumps(json.loads(body), separators=(",", ":")).encode(),
    ),
    "bad UTF-8": lambda headers, body: (headers, body + b"\xff"),
    "nothing": lambda headers, _: (headers, b""),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
async def test_what_the_provider_did_not_sign_is_refused(house: House, forge) -> None:
    payment = await payment_of(house)
    headers, body = signed(callback("captured", payment))
    reply = await send(house, *forge(headers, body))
    assert (reply.status, reply.code) == (401, "signature_invalid")
    assert await ledger(house, payment) == []
    assert (await send(house, headers, body)).json == {"outcome": "applied"}


async def test_another_secret_is_no_secret(house: House) -> None:
    payment = await payment_of(house)
    reply = await tell(house, callback("captured", payment), secrets=(STRANGER,))
    assert (reply.status, reply.code) == (401, "signature_invalid")


@pytest.mark.parametrize(
    "secrets", [(SECRET,), (NEW_SECRET,), (NEW_SECRET, SECRET), (STRANGER, NEW_SECRET)]
)
async def test_while_secrets_rotate_either_serves(house: House, secrets) -> None:
    reply = await tell(house, callback("captured", await payment_of(house)), secrets=secrets)
    assert (reply.status, reply.json) == (200, {"outcome": "applied"})


@pytest.mark.parametrize("off", [-STAMP_SECONDS_MAX - 30, STAMP_SECONDS_MAX + 30])
async def test_a_stamp_far_off_is_refused(house: House, off: int) -> None:
    payment = await payment_of(house)
    event = callback("captured", payment)
    reply = await tell(house, event, at=int(time.time()) + off)
    assert (reply.status, reply.code) == (400, "stamp_refused")
    assert await ledger(house, payment) == []
    near = int(time.time()) + (STAMP_SECONDS_MAX - 30) * (1 if off > 0 else -1)
    assert (await tell(house, event, at=near)).status == 200


MALFORMED = {
    "no type": {"id": "evt_m1", "data": {}},
    "no data": {"id": "evt_m2", "type": "payment.captured"},
    "data as a list": {"id": "evt_m3", "type": "payment.captured", "data": []},
    "amount as text": {"amount": "149900"},
    "amount below nothing": {"amount": -1},
    "amount beyond the database": {"amount": 2**63},
    "a fraction": {"amount": 1.5},
    "amount as truth": {"amount": True},
    "no instant": {"occurred_at_ms": None},
    "an instant beyond the calendar": {"occurred_at_ms": 2**62},
    "payment as a number": {"payment_id": 7},
    "NUL in a name": {"payment_id": "a\x00b"},
    "NUL where we do not look": {"memo": "a\x00b"},
    "a lone surrogate": {"memo": "\ud800"},
}


@pytest.mark.parametrize("case", MALFORMED.values(), ids=MALFORMED)
async def test_what_is_signed_and_unreadable_is_malformed(house: House, case) -> None:
    event = case if "id" in case else callback("captured", await payment_of(house), **case)
    reply = await tell(house, event)
    assert (reply.status, reply.code) == (400, "callback_malformed")


async def test_an_unknown_type_is_kept_and_changes_nothing(house: House) -> None:
    payment = await payment_of(house)
    reply = await tell(house, callback("disputed", payment))
    assert (reply.status, reply.json) == (200, {"outcome": "ignored"})
    assert await ledger(house, payment) == [("other", "ignored")]
    assert await captured(house, payment) == 0


async def test_an_unknown_order_is_kept_for_later(house: House) -> None:
    payment = await payment_of(house)
    stray = payment | {"id": payment["id"] + "x"}
    event = callback("captured", stray)
    reply = await tell(house, event)
    assert (reply.status, reply.json) == (202, {"outcome": "unmatched"})
    assert await ledger(house, stray) == [("captured", "unmatched")]
    assert (await tell(house, event)).json == {"outcome": "duplicate"}


@pytest.mark.parametrize(
    "changes", [{"amount": 1}, {"amount": 0}, {"currency": "EUR"}, {"currency": ""}]
)
async def test_wrong_money_is_put_aside(house: House, changes) -> None:
    payment = await payment_of(house)
    reply = await tell(house, callback("captured", payment, **changes))
    assert (reply.status, reply.json) == (200, {"outcome": "quarantined"})
    assert await ledger(house, payment) == [("captured", "quarantined")]
    assert await captured(house, payment) == 0
    assert (await tell(house, callback("captured", payment))).json == {"outcome": "applied"}


async def test_money_back_before_it_came_is_kept_and_applied_later(house: House) -> None:
    payment = await payment_of(house)
    back = await tell(house, callback("refunded", payment, refund_id=None))
    assert (back.status, back.json) == (200, {"outcome": "received"})
    assert (await tell(house, callback("captured", payment))).json == {"outcome": "applied"}
    await house.deps.money.intake.retry()
    kept = await ledger(house, payment)
    assert sorted(kept) == [("captured", "applied"), ("refunded", "applied")]


async def test_ten_minutes_late_is_not_too_late(house: House) -> None:
    """The stamp is of the sending; when the money moved is another matter."""
    payment = await payment_of(house)
    then = time.time_ns() // 1_000_000 - 600_000
    reply = await tell(house, callback("captured", payment, occurred_at_ms=then))
    assert reply.json == {"outcome": "applied"}


async def test_a_large_callback_is_refused_before_it_is_read(house: House) -> None:
    payment = await payment_of(house)
    fits = callback("captured", payment, memo="m" * (CALLBACK_MAX_BYTES - 1000))
    assert (await tell(house, fits)).json == {"outcome": "applied"}
    large = callback("captured", payment, memo="m" * CALLBACK_MAX_BYTES)
    reply = await tell(house, large)
    assert (reply.status, reply.code) == (413, "body_too_large")
    assert "65536" in reply.json["detail"]


@pytest.mark.parametrize("path", ["none", "stripe", "Sandbox", "x%00", "../sandbox"])
async def test_other_providers_are_unknown(house: House, path: str) -> None:
    headers, body = signed(callback("captured", await payment_of(house)))
    reply = await send(house, headers, body, f"/v1/providers/{path}/webhooks")
    assert (reply.status, reply.code in {"unknown_provider", "not_found"}) == (404, True)


async def test_a_packed_callback_is_not_guessed_at(house: House) -> None:
    headers, body = signed(callback("captured", await payment_of(house)))
    reply = await send(house, {**headers, "Content-Encoding": "gzip"}, body)
    assert (reply.status, reply.code) == (415, "unsupported_media_type")


async def test_while_postgres_is_away_the_provider_is_told_to_come_again(house: House) -> None:
    payment = await payment_of(house)
    event = callback("captured", payment)
    async with house.postgres_away():
        reply = await tell(house, event)
        assert (reply.status, reply.code) == (503, "recovering")
        assert int(reply.headers["Retry-After"]) > 0
    assert (await tell(house, event)).json == {"outcome": "applied"}


async def test_a_callback_is_never_logged(house: House, caplog, capfd) -> None:
    payment = await payment_of(house)
    for type_, how in (("captured", {}), ("disputed", {}), ("captured", {"amount": 1})):
        await tell(house, callback(type_, payment, memo="s3cret-in-the-body", **how))
    await tell(house, callback("captured", payment, memo="s3cret-in-the-body", amount=-1))
    out, err = capfd.readouterr()
    assert "s3cret" not in caplog.text + out + err
