"""Judges a sale's money (INV-12): balances in, checks and alerts out. Pure; it moves none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flashsale.reconciliation.money_queries import Balance, Notes
from flashsale.reconciliation.report import Check


@dataclass(frozen=True, slots=True)
class MoneyBounds:
    """How long money may be on its way before it counts as wrong.

    `transit_seconds`: from an order's last change until money that pays nothing is back.
    `unapplied_seconds`: from a capture, or a checkout's deadline, until the order knows.
    `closing_seconds`: from a decision in Postgres until Redis has enacted it.
    `statement_seconds`: between a provider's books and its callback, either way.
    """

    transit_seconds: int = 60
    unapplied_seconds: int = 120
    closing_seconds: int = 60
    statement_seconds: int = 900


_EMPTY = Balance("", 0, 0, 0, 0, (), (), ())

#: What a sale is judged by, in the order in which it is shown.
_EQUATIONS: Mapping[str, tuple[str, str]] = {
    "price": ("INV-12", "kept of paid and fulfilled orders = price - refunds granted"),
    "deposit": ("INV-12", "kept of orders with a deposit = deposit - refunds granted"),
    "unpaid": ("INV-12", "kept of orders unpaid, ended or refunded = 0"),
    "idle": ("INV-12", "kept of payments that pay no order = 0"),
    "once": ("INV-12", "payments that count = orders and purposes that they pay"),
    "captured": ("INV-12", "captured of payments = captures in the money ledger"),
    "refunded": ("INV-12", "refunded of payments = refunds in the money ledger"),
    "fees": ("INV-12", "fees of payments = fees in the money ledger"),
    "done": ("INV-12", "refunded of payments = refunds done"),
    "asked": ("INV-12", "refunded of payments = what of it was asked to be refunded"),
    "movement": ("INV-12", "captures and refunds applied = payments and refunds moved by them"),
    "event": ("INV-12", "rows of the money ledger = events of the provider"),
    "currency": ("INV-12", "payments in another currency than their order = 0"),
    "shipped": ("INV-12", "shipments = orders fulfilled"),
    "unapplied": ("INV-18", "payments whose outcome is late to reach the order = 0"),
    "closing": ("INV-18", "orders whose closing is late to reach Redis = 0"),
}
#: Those whose places are orders with money that is not where it will be.
_OF_ORDERS = frozenset({"price", "deposit", "unpaid", "idle"})
#: What sums over a whole sale can show.
_SUMMED = ("captured", "refunded", "asked")


def money_checks(balances: Iterable[Balance], notes: Notes) -> list[Check]:
    """Every equation of a sale; one that has no place holds with nothing on either side."""
    found = {balance.equation: balance for balance in balances}
    granted = f"refunds granted: {notes.granted_amount}" if notes.granted else ""
    return [
        _check(key, found.get(key, _EMPTY), granted if key in {"price", "deposit"} else "")
        for key in _EQUATIONS
    ]


def summed_checks(balances: Iterable[Balance]) -> list[Check]:
    """The sums alone, for a sale that is over."""
    found = {balance.equation: balance for balance in balances}
    return [_check(key, found.get(key, _EMPTY), "") for key in _SUMMED]


def _check(key: str, balance: Balance, said: str) -> Check:
    invariant, equation = _EQUATIONS[key]
    waiting = f"{balance.waiting} on their way" if balance.waiting else ""
    if not balance.wrong:
        detail = "; ".join(part for part in (said, waiting) if part)
        return Check(invariant, equation, True, balance.left, balance.right, detail)
    places = zip(balance.names, balance.lefts, balance.rights, strict=True)
    named = "; ".join(f"{name}: {left} and {right}" for name, left, right in places)
    rest = balance.wrong - len(balance.names)
    more = f" and {rest} more" if rest else ""
    return Check(invariant, equation, False, balance.lefts[0], balance.rights[0], named + more)


def money_counts(balances: Iterable[Balance], notes: Notes) -> dict[str, int]:
    """Numbers worth a look, by stable names."""
    return {
        "payments": notes.payments,
        "ledger_rows": notes.ledger_rows,
        "money_on_its_way": sum(each.waiting for each in balances if each.equation in _OF_ORDERS),
        "refunds_granted": notes.granted,
        "refunds_failed": notes.refunds_failed,
        "ledger_quarantined": notes.quarantined,
        "ledger_unmatched": notes.unmatched,
    }


def money_alerts(quarantined: int, unmatched: int, refunds_failed: int = 0) -> list[str]:
    """What an operator has to look at although no equation is broken by it."""
    found = []
    if quarantined:
        found.append(
            f"{quarantined} events of the provider are quarantined: amount, currency or payment"
            " is not what was asked for. Their money is counted nowhere."
        )
    if unmatched:
        found.append(f"{unmatched} events of the provider wait for what they belong to.")
    if refunds_failed:
        found.append(f"{refunds_failed} refunds failed at the provider: pay them by hand.")
    return found
