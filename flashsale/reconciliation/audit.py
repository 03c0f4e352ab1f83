"""The audit: every invariant that the two stores can show, while traffic flows. It mends nothing.

Both stores are read at one point of the streams (`cut`), judged (`evaluate`), and then every order
and buyer is looked at (`walk`). What is broken is looked at again before it is reported: only what
stays broken is. Not shown by the stores, and so not here: INV-6, 10, 12, 14, 16; INV-17 is no
sale's (`installation`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from flashsale.reconciliation import money_queries, queries
from flashsale.reconciliation.cut import Cut, Watched, consistent_cut
from flashsale.reconciliation.diff import Difference
from flashsale.reconciliation.evaluate import (
    Bounds,
    Ledger,
    Sides,
    compare,
    cross_checks,
    lane_checks,
    ledger_checks,
    limit_check,
)
from flashsale.reconciliation.money import (
    MoneyBounds,
    money_alerts,
    money_checks,
    money_counts,
    summed_checks,
)
from flashsale.reconciliation.queries import Connection, Pool
from flashsale.reconciliation.report import AuditReport, Check
from flashsale.reconciliation.summary import alerts, counts
from flashsale.reconciliation.walk import (
    SUSPECTS_MAX,
    Suspects,
    convict,
    rejected_and_held,
    unreturned,
    walk,
)
from flashsale.reservation.inspector import LaneInspector

_LOOKS_MAX = 3
_AGAIN_SECONDS = 0.1
_NAMED_MAX = 3

_EQUATIONS = {
    "INV-5": "orders live in one store and ended in the other = 0",
    "INV-7": "buyers whose count in Redis is not their live units = 0",
    "INV-8": "orders whose item, quantity or buyer differ = 0",
    "INV-9": "orders without a readable record in Redis = 0",
    "INV-11": "orders whose state or version differ = 0",
}


async def audit(
    pool: Pool,
    inspector: LaneInspector,
    sale_id: str | None = None,
    *,
    bounds: Bounds = Bounds(),  # noqa: B008 - an immutable value
    money_bounds: MoneyBounds = MoneyBounds(),  # noqa: B008 - likewise
    each_order: bool = True,
    retired_whole: bool = False,
) -> list[AuditReport]:
    """Audit one sale, or every sale that was ever armed.

    `each_order` False leaves out the walk over orders and buyers, which takes about a second for
    150,000 orders: for who audits every few seconds. Retired sales pile up, so that of those that
    are not named only the sums are looked at, unless `retired_whole`. The pool needs two
    connections. Raises UnknownSaleError, NoCutError, StoreUnavailableError, and asyncpg's errors.
    """
    sales = await queries.sales_to_audit(pool) if sale_id is None else [sale_id]
    looking = _Looking(bounds, money_bounds, each_order, retired_whole or sale_id is not None)
    return [await _audit_sale(pool, inspector, sale, looking) for sale in sales]


class _Looking(NamedTuple):
    """How closely a sale is looked at."""

    bounds: Bounds
    money_bounds: MoneyBounds
    each_order: bool
    retired_whole: bool


async def _audit_sale(
    pool: Pool, inspector: LaneInspector, sale_id: str, looking: _Looking
) -> AuditReport:
    watched = Watched()
    for look in range(1, _LOOKS_MAX + 1):
        async with consistent_cut(
            pool, inspector, sale_id, watched=watched, overdue_ms=looking.bounds.overdue_ms
        ) as (connection, cut):
            report = await _judge(connection, cut, looking)
            if report.holds or look == _LOOKS_MAX:
                walked = cut.whole and looking.each_order
                suspects = await walk(connection, inspector, cut) if walked else None
                break
        await asyncio.sleep(_AGAIN_SECONDS)
        watched = Watched(await rejected_and_held(pool, inspector, sale_id))
    if suspects is None:
        return report
    differences = await convict(pool, inspector, sale_id, suspects)
    return _with_walk(report, cut, suspects, differences)


async def _judge(connection: Connection, cut: Cut, looking: _Looking) -> AuditReport:
    """What the sums say."""
    sale = cut.sale
    whole = looking.retired_whole or not sale.retired
    ledger = Ledger(
        items=await queries.items(connection, sale.id),
        tallies=await queries.tally(connection, sale.id),
    )
    checks = ledger_checks(cut, ledger)
    if whole and not cut.coming.orders:
        most_units = await queries.largest_buyer_units(connection, sale.id)
        checks.append(limit_check(cut, most_units))
    if sale.in_redis:
        checks += lane_checks(cut, looking.bounds)
    if cut.whole:
        checks += cross_checks(cut, ledger, await unreturned(connection, cut))
    shut = await queries.shut_items_of(connection, sale.id)
    money = await _money(connection, cut, looking.money_bounds, whole=whole)
    return AuditReport(
        sale_id=sale.id,
        state=sale.state,
        checks=_sorted([*checks, *money.checks]),
        counts=counts(cut, ledger) | money.counts,
        alerts=(*alerts(cut, ledger, shut), *money.alerts),
        taken_at=datetime.now(UTC),
    )


class _Money(NamedTuple):
    """What a sale's money has come to."""

    checks: list[Check]
    counts: dict[str, int]
    alerts: list[str]


async def _money(connection: Connection, cut: Cut, bounds: MoneyBounds, *, whole: bool) -> _Money:
    """INV-12, order by order where the sale is looked at whole."""
    sale = cut.sale.id
    notes = await money_queries.notes(connection, sale)
    if whole:
        balances = await money_queries.balances(
            connection,
            sale,
            [sale + order for order in cut.coming.orders],
            transit_seconds=bounds.transit_seconds,
            unapplied_seconds=bounds.unapplied_seconds,
            closing_seconds=bounds.closing_seconds,
        )
        checks = money_checks(balances, notes)
    else:
        balances = await money_queries.sums(connection, sale)
        checks = summed_checks(balances)
    return _Money(
        checks,
        money_counts(balances, notes),
        money_alerts(notes.quarantined, notes.unmatched, notes.refunds_failed),
    )


def _with_walk(
    report: AuditReport, cut: Cut, suspects: Suspects, differences: Sequence[Difference]
) -> AuditReport:
    """The report with what the walk has found."""
    records = sum(lane.state.buyer_records for lane in cut.lanes if lane.state is not None)
    buyers = compare(
        "INV-7",
        "buyers counted in Redis = buyers with orders",
        [Sides("buyers", records, suspects.buyers_seen)],
    )
    walked = [
        _check(invariant, [found for found in differences if found.invariant == invariant])
        for invariant in _EQUATIONS
    ]
    more = (f"More than {SUSPECTS_MAX} orders or buyers differ; the rest were not looked at.",)
    if cut.coming.orders:
        walked.append(limit_check(cut, suspects.most_units))
    return AuditReport(
        sale_id=report.sale_id,
        state=report.state,
        checks=_sorted([*report.checks, buyers, *walked]),
        counts={
            **report.counts,
            "orders_walked": suspects.orders_seen,
            "buyers_walked": suspects.buyers_seen,
        },
        alerts=report.alerts + (more if suspects.full else ()),
        taken_at=report.taken_at,
    )


def _check(invariant: str, found: Sequence[Difference]) -> Check:
    named = [f"{difference.name}: {difference.text}" for difference in found[:_NAMED_MAX]]
    more = f" and {len(found) - _NAMED_MAX} more" if len(found) > _NAMED_MAX else ""
    return Check(
        invariant,
        _EQUATIONS[invariant],
        holds=not found,
        left=len(found),
        right=0,
        detail="; ".join(named) + more,
    )


def _sorted(checks: Sequence[Check]) -> tuple[Check, ...]:
    """By the number of the invariant, otherwise as they come."""
    return tuple(sorted(checks, key=lambda check: int(check.invariant.partition("-")[2])))
