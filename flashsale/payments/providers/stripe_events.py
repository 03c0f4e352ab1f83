"""What Stripe tells, as our values. Pure; amounts stay the minor units that they come in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flashsale.payments.provider import MoneyKind, ProviderEvent, StatementLine

_INTENTS = {
    "payment_intent.succeeded": MoneyKind.CAPTURED,
    "payment_intent.payment_failed": MoneyKind.DECLINED,
    "payment_intent.canceled": MoneyKind.EXPIRED,
}


def event_of(event: Mapping[str, Any]) -> ProviderEvent:
    """A callback's content; what we have no use for is `other`. Raises where it is no event."""
    about = event["data"]["object"]
    kind = _kind(event["type"], about, event["data"].get("previous_attributes") or {})
    ours = _metadata(about)
    is_refund = about.get("object") == "refund"
    told = ProviderEvent(
        id=event["id"],
        kind=kind,
        type=event["type"],
        payment_id=ours.get("payment_id"),
        refund_id=ours.get("refund_id"),
        ref=about.get("payment_intent") if is_refund else about.get("id"),
        amount=0 if kind is MoneyKind.OTHER else _amount(about, kind),
        currency=str(about.get("currency") or "").upper(),
        fee=0,  # not in the event; the statement has it
        occurred_at_ms=event["created"] * 1000,
        payload=_kept(event, about),
    )
    numbers = (told.amount, told.occurred_at_ms)
    if (
        not all(type(each) is int and 0 <= each < 1 << 63 for each in numbers)
        or not (isinstance(told.id, str) and isinstance(told.type, str))
        or not (told.ref is None or isinstance(told.ref, str))
    ):
        raise ValueError("no event of Stripe's")
    return told


def _kept(event: Mapping[str, Any], about: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is written down of an event: all but the secret by which a buyer's page may pay."""
    shown = {name: value for name, value in about.items() if name != "client_secret"}
    return {**event, "data": {**event["data"], "object": shown}}


def _amount(about: Mapping[str, Any], kind: MoneyKind) -> Any:
    if kind is MoneyKind.CAPTURED:
        return about.get("amount_received", about["amount"])
    return about["amount"]


def _kind(name: str, about: Mapping[str, Any], before: Mapping[str, Any]) -> MoneyKind:
    if name in _INTENTS:
        return _INTENTS[name]
    # A refund is told of once: when it begins as paid out, or becomes it.
    paid_out = about.get("status") == "succeeded"
    if name == "refund.created" or (name == "refund.updated" and "status" in before):
        return MoneyKind.REFUNDED if paid_out else MoneyKind.OTHER
    return MoneyKind.REFUND_FAILED if name == "refund.failed" else MoneyKind.OTHER


def movements_of(
    intent: Mapping[str, Any], refunds: Sequence[Mapping[str, Any]]
) -> list[ProviderEvent]:
    """What moved of an intent whose charge is expanded; its refunds come oldest first.

    Only the newest attempt of a refund counts, and none that we did not ask for: its callback,
    which has another name, would be taken for money that goes back once more.
    """
    if intent.get("status") != "succeeded":
        return []
    charge = intent["latest_charge"]
    whole = {**intent, "latest_charge": charge["id"]}
    told = [_moved("payment_intent.succeeded", charge, whole)]
    newest = {name: each for each in refunds if (name := _metadata(each).get("refund_id"))}
    for refund in newest.values():
        if refund.get("status") == "succeeded":
            told.append(_moved("refund.created", refund, refund))
        elif refund.get("status") in {"failed", "canceled"}:
            told.append(_moved("refund.failed", refund, refund))
    return told


def _moved(kind: str, named: Mapping[str, Any], about: Mapping[str, Any]) -> ProviderEvent:
    event = {"id": named["id"], "type": kind, "created": named["created"]}
    return event_of({**event, "data": {"object": about}})


def line_of(booked: Mapping[str, Any]) -> StatementLine | None:
    """A balance transaction with its source; None for what is neither a capture nor a refund.

    Amount and currency are what the buyer paid in, the fee is in the account's own currency.
    """
    source = booked["source"]
    kinds = {"charge": MoneyKind.CAPTURED, "refund": MoneyKind.REFUNDED}
    about = source.get("object") if isinstance(source, Mapping) else None
    if about not in kinds:
        return None
    ours = _metadata(source)
    return StatementLine(
        event_id=booked["id"],
        kind=kinds[about],
        payment_id=ours.get("payment_id"),
        refund_id=ours.get("refund_id"),
        amount=source["amount"],
        currency=source["currency"].upper(),
        fee=max(booked.get("fee") or 0, 0),
        occurred_at_ms=booked["created"] * 1000,
    )


def _metadata(about: Mapping[str, Any]) -> Mapping[str, str]:
    found = about.get("metadata") or {}
    return {name: value for name, value in found.items() if isinstance(value, str)}
