"""INV-12: the provider's own statement against orders, payments and the money ledger. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tests.chaos.checker_run import Broken, Run

PAID = frozenset({"paid", "fulfilled"})
#: Orders that may rightly have part of their price paid.
_PARTLY = frozenset({"deposit_paid", "allocated", "balance_due", "forfeited"})


def _signs(line: Mapping[str, Any]) -> int:
    kind = str(line["kind"]).rpartition(".")[2]
    return {"captured": 1, "refunded": -1}.get(kind, 0)


def _payments(run: Run) -> dict[str, dict[str, Any]]:
    """Payments by every name that a provider may use for them."""
    rows = run.rows("payments")
    by_ref = {row["provider_ref"]: row for row in rows if row.get("provider_ref")}
    return by_ref | {row["id"]: row for row in rows}


def paid_once(run: Run) -> Iterator[Broken]:
    """Paid: captured - refunded = price. Not paid: nothing is kept, least of all of a lost one."""
    payments, orders = _payments(run), run.orders
    net: Counter[str] = Counter()
    for line in run.provider:
        payment = payments.get(line["payment_id"])
        if payment is None:
            if _signs(line):
                yield Broken("INV-12", "money moved for a payment that nobody knows", line)
            continue
        net[payment["order_id"]] += _signs(line) * int(line["amount"])
    given = _given_by_merchants(run)
    for name in sorted(set(net) - set(orders)):
        if net[name]:
            yield Broken("INV-12", "somebody paid for a lost order", [name, net[name]])
    for name, row in orders.items():
        price = row["unit_amount"] * row["quantity"]
        if row["state"] in PAID:
            expected = price - given[name]
        elif row["state"] in _PARTLY:
            continue
        else:
            expected = 0
        if net[name] != expected:
            what = f"an order is {row['state']} and its money is not what that means"
            evidence = {"order": name, "kept": net[name], "expected": expected}
            yield Broken("INV-12", what, evidence)


def _given_by_merchants(run: Run) -> Counter[str]:
    given: Counter[str] = Counter()
    for row in run.rows("refunds"):
        if row["cause"] in {"merchant", "provider"} and row["state"] != "failed":
            given[row["order_id"]] += row["amount"]
    return given


def booked(run: Run) -> Iterator[Broken]:
    """One ledger row for each line of the statement, and none besides."""
    rows = {row["event_id"]: row for row in run.rows("ledger_entries")}
    lines = {line["event_id"]: line for line in run.provider}
    for name in sorted(set(lines) - set(rows)):
        if _signs(lines[name]):
            yield Broken("INV-12", "an event of the provider is not in the ledger", lines[name])
    for name, row in rows.items():
        line = lines.get(name)
        moves = row["kind"] in {"captured", "refunded"}
        if line is None:
            if moves:
                yield Broken("INV-12", "the ledger has money that the provider has not", row)
        elif moves and (row["amount"], row["currency"]) != (line["amount"], line["currency"]):
            yield Broken("INV-12", "an amount was written down wrong", [row, line])


def added_up(run: Run) -> Iterator[Broken]:
    """Payments say what the ledger says; what came in has reached its order."""
    came: Counter[tuple[str, str]] = Counter()
    for row in run.rows("ledger_entries"):
        if row.get("payment_id") and row["state"] == "applied":
            came[row["payment_id"], row["kind"]] += row["amount"]
    counted: Counter[tuple[str, str]] = Counter()
    for row in run.rows("payments"):
        for column in ("captured", "refunded"):
            if row[column] != came[row["id"], column]:
                evidence = {
                    "payment": row["id"],
                    "is": row[column],
                    "ledger": came[row["id"], column],
                }
                yield Broken("INV-12", f"a payment's {column} is not the ledger's", evidence)
        if row["state"] == "captured" and row["applied_at"] is None:
            yield Broken("INV-18", "money came in and never reached its order", row)
        counted[row["order_id"], row["purpose"]] += bool(row["counts"])
    for place, times in counted.items():
        if times > 1:
            yield Broken("INV-12", "two payments pay one order", [*place, times])
    for row in run.rows("refunds"):
        if row["state"] not in {"done", "failed"}:
            yield Broken("INV-18", "a refund was promised and never ended", row)
