"""The provider's statement against the money ledger: every difference has its own equation."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
from rich.console import Console

from flashsale.payments.provider import MoneyKind, StatementLine
from flashsale.reconciliation.errors import NoStatementError
from flashsale.reconciliation.installation import audit_installation
from flashsale.reconciliation.money import MoneyBounds
from flashsale.reconciliation.money_statement import Statement
from flashsale.reconciliation.report import AuditReport, render, to_json
from tests.reconciliation.scene import Scene
from tests.reconciliation.till import OLD, PRICE, Till

BOOKED = "lines in the statement of sandbox = rows of the money ledger"
KNOWN = "rows of the money ledger = lines in the statement of sandbox"
AMOUNTS = "amounts in the statement = in the ledger"
FEES = "fees in the statement = in the ledger"
SUBJECTS = "lines of another kind, currency or payment than in the ledger = 0"
PLACES = "movements applied that belong to no payment of their sale = 0"
EQUATIONS = (PLACES, BOOKED, KNOWN, AMOUNTS, FEES, SUBJECTS)


@pytest.fixture
async def till(scene: Scene) -> Till:
    """Two captures, one of them refunded, one in part."""
    till = Till(scene)
    order = await till.order("paid")
    payment = await till.capture(order, PRICE, fee=100)
    await till.refund(payment, order, 7)
    order = await till.order("refunded")
    await till.refund(await till.capture(order, PRICE), order, PRICE, cause="cancelled")
    return till


async def books(till: Till) -> list[StatementLine]:
    """The statement that the ledger's callbacks belong to."""
    rows = await till.scene.pool.fetch(
        "SELECT event_id, kind, payment_id, refund_id, amount, currency, fee,"
        " (extract(epoch FROM occurred_at) * 1000)::bigint FROM ledger_entries ORDER BY occurred_at"
    )
    return [StatementLine(row[0], MoneyKind(row[1]), *row[2:]) for row in rows]


async def compared(till: Till, lines: Sequence[StatementLine], **bounds: int) -> AuditReport:
    async def told() -> AsyncIterator[StatementLine]:
        for line in lines:
            yield line

    statement = Statement("sandbox", told())
    return await audit_installation(till.scene.pool, statement, bounds=MoneyBounds(**bounds))


def sides(report: AuditReport) -> dict[str, tuple[int, int]]:
    """What the audit of money says; INV-17 has tests of its own."""
    return {
        check.equation: (check.left, check.right)
        for check in report.checks
        if check.invariant == "INV-12"
    }


async def test_books_that_agree_hold(till: Till):
    report = await compared(till, await books(till))
    assert report.broken == ()
    assert report.alerts == ()
    amount = 3 * PRICE + 7
    told = sides(report)
    assert {equation: told[equation] for equation in EQUATIONS} == {
        PLACES: (0, 0),
        BOOKED: (4, 4),
        KNOWN: (4, 4),
        AMOUNTS: (amount, amount),
        FEES: (100, 100),
        SUBJECTS: (0, 0),
    }
    assert report.counts["statement_lines"] == 4


async def test_books_numbered_apart_from_the_callbacks_agree_too(till: Till):
    """As Stripe's are: found by our names; the callbacks tell no fee, and so none is compared."""
    lines = [
        line._replace(event_id=f"txn{number}", fee=9)
        for number, line in enumerate(await books(till))
    ]
    report = await compared(till, lines)
    assert report.broken == ()
    assert sides(report)[FEES] == (0, 0)
    twice = [*lines, lines[0]._replace(event_id="txn9")]
    assert {check.equation for check in (await compared(till, twice)).broken} == {BOOKED}


async def test_a_movement_told_by_two_names_is_one(till: Till):
    """One that was asked for and booked, and whose callback came after all."""
    lines = await books(till)
    numbered = [line._replace(event_id=f"txn{n}") for n, line in enumerate(lines)]
    [first, *_] = [line for line in lines if line.kind is MoneyKind.CAPTURED]
    again = await till.entry("captured", first.payment_id, PRICE, state="ignored", event="a-first")
    assert (await compared(till, numbered)).broken == ()
    assert (await compared(till, lines)).broken == ()
    await till.run("UPDATE ledger_entries SET state = 'applied' WHERE event_id = $1", again)
    assert KNOWN in {check.equation for check in (await compared(till, lines)).broken}


async def test_a_refund_made_at_the_provider_is_found_by_its_payment(till: Till):
    lines = await books(till)
    foreign = [
        line._replace(event_id=f"txn-{line.event_id}", refund_id=None) if line.refund_id else line
        for line in lines
    ]
    assert (await compared(till, foreign)).broken == ()
    other = [line._replace(amount=8) if line.amount == 7 else line for line in foreign]
    assert {check.equation for check in (await compared(till, other)).broken} == {BOOKED, KNOWN}


Change = Callable[[Till, list[StatementLine]], list[StatementLine]]
PLANTED: dict[str, tuple[Change, set[str]]] = {
    "a line the ledger never heard of": (
        lambda _, lines: [*lines, lines[0]._replace(event_id="new", payment_id=None)],
        {BOOKED},
    ),
    "a line twice": (lambda _, lines: [*lines, lines[0]], {BOOKED}),
    "a line missing": (lambda _, lines: lines[1:], {KNOWN}),
    "another amount": (
        lambda _, lines: [lines[0]._replace(amount=1), *lines[1:]],
        {AMOUNTS},
    ),
    "another fee": (lambda _, lines: [lines[0]._replace(fee=55), *lines[1:]], {FEES}),
    "another currency": (
        lambda _, lines: [lines[0]._replace(currency="EUR"), *lines[1:]],
        {SUBJECTS},
    ),
    "another payment": (
        lambda _, lines: [lines[0]._replace(payment_id="pay99"), *lines[1:]],
        {SUBJECTS},
    ),
    "another kind": (
        lambda _, lines: [lines[0]._replace(kind=MoneyKind.REFUNDED), *lines[1:]],
        {SUBJECTS},
    ),
}


@pytest.mark.parametrize("name", PLANTED)
async def test_it_is_caught(till: Till, name: str):
    change, expected = PLANTED[name]
    report = await compared(till, change(till, await books(till)))
    assert {check.equation for check in report.broken} == expected


async def test_what_is_younger_than_the_bound_is_in_flight(till: Till):
    lines = await books(till)
    now_ms = int(time.time() * 1000)
    young = lines[0]._replace(event_id="new", payment_id="pay98", occurred_at_ms=now_ms - 60_000)
    report = await compared(till, [*lines, young])
    assert report.broken == ()
    assert report.counts["statement_lines_in_flight"] == 1
    assert not (await compared(till, [*lines, young], statement_seconds=30)).holds
    await till.paid_order(age=60)
    assert (await compared(till, lines)).holds
    assert sides(await compared(till, lines, statement_seconds=30))[KNOWN] == (5, 4)


async def test_a_long_statement_is_read_in_pages(till: Till):
    await asyncio.gather(*(_movement(till) for _ in range(10)))
    await till.run(
        "INSERT INTO ledger_entries SELECT provider, event_id || n, kind, type, provider_ref,"
        " payment_id, refund_id, order_id, sale_id, amount, currency, fee, occurred_at,"
        " received_at, state, note, payload FROM ledger_entries, generate_series(1, 600) AS n"
        " WHERE state = 'unmatched'"
    )
    lines = await books(till)
    report = await compared(till, lines)
    assert report.holds
    assert sides(report)[BOOKED] == sides(report)[KNOWN] == (6014, 6014)
    assert {check.equation for check in (await compared(till, lines[:-1])).broken} == {KNOWN}


def _movement(till: Till) -> Awaitable[str]:
    return till.entry("captured", None, 5, state="unmatched")


async def test_without_a_statement_it_says_so(till: Till):
    async def nothing() -> AsyncIterator[StatementLine]:
        raise NoStatementError("sandbox", "nobody answers")
        yield

    report = await audit_installation(till.scene.pool)
    assert report.holds
    assert report.alerts == ("No provider is configured: its statement was not compared.",)
    report = await audit_installation(till.scene.pool, Statement("sandbox", nothing()))
    assert report.holds
    assert report.alerts == ("The statement of sandbox was not compared: nobody answers",)


async def test_money_without_a_place_and_wishes_without_success_are_told(till: Till):
    await till.entry("captured", None, 5, state="quarantined")
    await till.entry("refunded", None, 5, state="received")
    await till.run("INSERT INTO outbox (kind, subject, attempts) VALUES ('send_refund', 'r', 8)")
    report = await audit_installation(till.scene.pool)
    assert report.holds
    assert len(report.alerts) == 4
    counted = ("ledger_quarantined", "ledger_unmatched", "outbox", "outbox_stuck")
    assert [report.counts[name] for name in counted] == [1, 1, 1, 1]
    await till.entry("captured", None, 5)
    report = await audit_installation(till.scene.pool)
    assert [check.equation for check in report.broken] == [PLACES]


async def test_a_row_of_another_sale_is_caught(till: Till):
    await till.run("UPDATE ledger_entries SET sale_id = 'elsewhere' WHERE kind = 'refunded'")
    (check, *_) = (await audit_installation(till.scene.pool)).broken
    assert (check.equation, check.left) == (PLACES, 2)


async def test_the_report_as_json_and_as_a_table(till: Till):
    report = await audit_installation(till.scene.pool)
    assert set(to_json(report)) == {"holds", "checks", "counts", "alerts", "taken_at"}
    shown = io.StringIO()
    Console(file=shown, width=120).print(render([report]))
    assert "installation: holds" in shown.getvalue()


def test_what_is_old_here_is_old_for_the_statement():
    assert MoneyBounds().statement_seconds < OLD
