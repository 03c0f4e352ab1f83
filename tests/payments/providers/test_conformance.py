"""What the engine may rely on with every provider."""

from __future__ import annotations

import json
import secrets
import socket
import time

import orjson
import pytest

from flashsale.payments.provider import (
    STAMP_SECONDS_MAX,
    MalformedError,
    MoneyKind,
    ProviderRefusedError,
    ProviderUnavailableError,
    SignatureError,
    StampError,
)
from flashsale.payments.providers.sandbox import SandboxProvider
from flashsale.payments.providers.stripe import StripeProvider
from tests.payments.providers.desks import PAGE, told
from tests.sandbox.house import NEW_SECRET, asked


def fresh(**more):
    """A payment of its own: one localstripe serves a whole module."""
    return asked(f"pay-{secrets.token_hex(6)}", **more)


@pytest.fixture
async def paid(desk):
    """A paid payment: what was asked, its checkout, and the callback about it."""
    asking = fresh()
    checkout = await desk.provider.open(asking)
    await desk.pay(checkout)
    event = await told(desk, asking.payment_id)
    return asking, checkout, event


def about(desk, paid):
    """The callback about a payment, as it came."""
    name = paid[0].payment_id.encode()
    return next(each for each in desk.receiver.taken if name in each[1])


async def test_opening_twice_opens_one(desk):
    asking = fresh()
    first = await desk.provider.open(asking)
    assert await desk.provider.open(asking) == first
    assert first.ref
    assert first.url.startswith(("http://127.0.0.1:", "https://shop.example/pay#pi_"))
    assert (await desk.provider.open(fresh())).ref != first.ref


async def test_a_payment_is_told_of_with_our_own_name_and_its_amount(desk, paid):
    asking, checkout, event = paid
    assert event.kind is MoneyKind.CAPTURED
    assert (event.payment_id, event.ref, event.refund_id) == (asking.payment_id, checkout.ref, None)
    assert (event.amount, event.currency) == (149_900, "CNY")
    assert abs(event.occurred_at_ms - time.time() * 1000) < 60_000
    assert event.id.startswith("evt_")


async def test_amounts_stay_minor_units_where_a_currency_has_none(desk):
    asking = fresh(currency="JPY", amount=5000)
    checkout = await desk.provider.open(asking)
    await desk.pay(checkout)
    event = await told(desk, asking.payment_id)
    assert (event.amount, event.currency) == (5000, "JPY")


async def test_a_refusal_of_the_bank_is_told(desk):
    asking = fresh()
    await desk.decline(await desk.provider.open(asking))
    event = await told(desk, asking.payment_id)
    assert (event.kind, event.currency) == (MoneyKind.DECLINED, "CNY")


async def test_a_payment_closes_once_and_not_when_it_is_paid(desk, paid):
    checkout = await desk.provider.open(fresh())
    await desk.provider.expire(checkout.ref)
    await desk.provider.expire(checkout.ref)
    with pytest.raises(ProviderRefusedError):
        await desk.provider.expire(paid[1].ref)


async def test_a_refund_is_made_once_for_its_id_and_stands_in_the_statement(desk, paid):
    asking, checkout, _ = paid
    refund = f"refund-{secrets.token_hex(6)}"
    name = await desk.provider.refund(refund, checkout.ref, 50_000)
    assert await desk.provider.refund(refund, checkout.ref, 50_000) == name
    second = await desk.provider.refund(f"{refund}-2", checkout.ref, 99_900)
    assert second != name
    lines = [line async for line in desk.provider.statement(None)]
    [captured] = [line for line in lines if line.payment_id == asking.payment_id][:1]
    assert (captured.kind, captured.amount) == (MoneyKind.CAPTURED, 149_900)
    refunded = {line.refund_id: line.amount for line in lines if line.kind is MoneyKind.REFUNDED}
    assert (refunded[refund], refunded[f"{refund}-2"]) == (50_000, 99_900)
    assert {line.currency for line in lines} <= {"CNY", "JPY"}


async def test_what_moved_of_a_payment_can_be_asked_for(desk, paid):
    """localstripe tells no refund by a callback: those are held against the statement above."""
    _, checkout, told_of = paid
    [captured] = await desk.provider.movements(checkout.ref)
    same = ("kind", "payment_id", "refund_id", "ref", "amount", "currency")
    assert [getattr(captured, name) for name in same] == [getattr(told_of, name) for name in same]
    names = [f"refund-{secrets.token_hex(6)}" for _ in range(2)]
    for name, amount in zip(names, (50_000, 99_900), strict=True):
        await desk.provider.refund(name, checkout.ref, amount)
    again, *refunds = await desk.provider.movements(checkout.ref)
    assert again._replace(payload={}) == captured._replace(payload={})
    assert {(each.refund_id, each.amount) for each in refunds} == {
        (names[0], 50_000),
        (names[1], 99_900),
    }
    assert {each.kind for each in refunds} == {MoneyKind.REFUNDED}
    assert len({each.id for each in (captured, *refunds)}) == 3
    unpaid = await desk.provider.open(fresh())
    assert await desk.provider.movements(unpaid.ref) == []
    if desk.provider.name == "sandbox":  # Stripe does not list the events of one payment
        assert captured == told_of


async def test_whoever_paid_and_was_saved_is_charged_again(desk, paid):
    deposit = fresh(save=True)
    checkout = await desk.provider.open(deposit)
    await desk.pay(checkout)
    await told(desk, deposit.payment_id)
    balance = fresh(amount=100_000)
    charged = await desk.provider.charge(balance, checkout.ref)
    assert await desk.provider.charge(balance, checkout.ref) == charged
    assert charged.url is None
    event = await told(desk, balance.payment_id)
    assert (event.kind, event.amount, event.ref) == (MoneyKind.CAPTURED, 100_000, charged.ref)
    with pytest.raises(ProviderRefusedError, match=r"not.saved"):
        await desk.provider.charge(fresh(), paid[1].ref)


async def test_what_the_provider_does_not_know_is_refused_for_good(desk):
    for call in (
        desk.provider.expire("pi_nothing"),
        desk.provider.refund("refund-x", "pi_nothing", 1),
        desk.provider.movements("pi_nothing"),
        desk.provider.charge(fresh(), "pi_nothing"),
    ):
        with pytest.raises(ProviderRefusedError):
            await call


@pytest.mark.parametrize("silent", [False, True], ids=["nobody there", "no answer"])
async def test_where_nobody_answers_the_effect_is_unknown(silent):
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        if silent:
            door.listen()
        url = f"http://127.0.0.1:{door.getsockname()[1]}"
        for provider in (
            SandboxProvider(url, api_key="k", webhook_secrets=(NEW_SECRET,), timeout_ms=100),
            StripeProvider(
                "sk_test_1",
                webhook_secrets=(NEW_SECRET,),
                checkout_url=PAGE,
                url=url,
                timeout_ms=100,
            ),
        ):
            for call in (
                provider.open(fresh()),
                provider.expire("ref"),
                provider.refund("refund", "ref", 1),
                provider.movements("ref"),
            ):
                with pytest.raises(ProviderUnavailableError):
                    await call
            await provider.close()


async def test_only_the_very_bytes_that_were_signed_are_taken(desk, paid):
    headers, body = about(desk, paid)
    now = time.time()
    assert desk.provider.verify(headers, body, now).kind is not MoneyKind.OTHER
    lowered = {name.lower(): value for name, value in headers.items()}
    assert desk.provider.verify(lowered, body, now) == desk.provider.verify(headers, body, now)
    signed = {"webhook-signature", "stripe-signature"}
    unsigned = {name: value for name, value in lowered.items() if name not in signed}
    for given, content in (
        (headers, body.replace(b"149900", b"149901")),
        (headers, json.dumps(json.loads(body), separators=(" , ", ": ")).encode()),
        (headers, body + b"\n"),
        (headers, b"\xff" + body),
        (headers, b""),
        (unsigned, body),
        ({**unsigned, **dict.fromkeys(signed, "")}, body),
        ({**unsigned, **dict.fromkeys(signed, "t=1,v1=00,v1,AAAA v1")}, body),
        ({**unsigned, **dict.fromkeys(signed, "v1,\u00e9 t=\u00e9")}, body),
        ({}, body),
    ):
        assert content != body or given != headers
        with pytest.raises(SignatureError):
            desk.provider.verify(given, content, now)


async def test_a_stamp_is_taken_for_five_minutes_either_way(desk, paid):
    headers, body = about(desk, paid)
    stamp = int(
        headers.get("webhook-timestamp") or headers["Stripe-Signature"][2:].partition(",")[0]
    )
    for now in (stamp - STAMP_SECONDS_MAX, stamp, stamp + STAMP_SECONDS_MAX):
        desk.provider.verify(headers, body, now)
    for now in (stamp - STAMP_SECONDS_MAX - 1, stamp + STAMP_SECONDS_MAX + 1):
        with pytest.raises(StampError):
            desk.provider.verify(headers, body, now)
        with pytest.raises(SignatureError):  # who did not sign it learns nothing of our clock
            desk.provider.verify(headers, body + b" ", now)


async def test_during_a_rotation_either_secret_is_taken(desk):
    stamp = int(time.time())
    body = orjson.dumps(
        {
            "id": "evt_1",
            "type": "new.kind",
            "created": stamp,
            "data": {"object": {}, "occurred_at_ms": stamp * 1000},
        }
    )
    both, new = desk.other(NEW_SECRET, desk.secret), desk.other(NEW_SECRET)
    try:
        for secret in (desk.secret, NEW_SECRET):
            event = both.verify(desk.sign(body, stamp, secret), body, stamp)
            assert (event.kind, event.type) == (MoneyKind.OTHER, "new.kind")
        new.verify(desk.sign(body, stamp, NEW_SECRET), body, stamp)
        with pytest.raises(SignatureError):
            new.verify(desk.sign(body, stamp, desk.secret), body, stamp)
    finally:
        await both.close()
        await new.close()


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"{}", b'{"id":"evt_1"}', b'{"id":"evt_1","type":"x","data":[]}'],
)
async def test_what_is_signed_and_cannot_be_read_is_told_apart(desk, body):
    stamp = int(time.time())
    with pytest.raises(MalformedError):
        desk.provider.verify(desk.sign(body, stamp, desk.secret), body, stamp)
