"""Money in order holds, also while it is on its way; what is shown of it is what there is."""

from __future__ import annotations

import pytest

from flashsale.reconciliation.audit import audit
from flashsale.reconciliation.money import MoneyBounds
from flashsale.reconciliation.report import AuditReport
from tests.reconciliation.scene import Scene
from tests.reconciliation.till import DEPOSIT, PRICE, Till

PRICES = "kept of paid and fulfilled orders = price - refunds granted"
DEPOSITS = "kept of orders with a deposit = deposit - refunds granted"
UNPAID = "kept of orders unpaid, ended or refunded = 0"
IDLE = "kept of payments that pay no order = 0"
UNAPPLIED = "payments whose outcome is late to reach the order = 0"
CLOSING = "orders whose closing is late to reach Redis = 0"


@pytest.fixture
async def till(scene: Scene) -> Till:
    till = Till(scene)
    await till.retire()
    return till


def sides(report: AuditReport) -> dict[str, tuple[int, int, str]]:
    return {check.equation: (check.left, check.right, check.detail) for check in report.checks}


async def test_every_kind_of_order_holds(till: Till):
    await till.paid_order(quantity=2)
    await till.paid_order("fulfilled")
    partly = await till.order("paid")
    await till.refund(await till.capture(partly, PRICE), partly, 100)
    for state in ("deposit_paid", "allocated", "balance_due", "forfeited"):
        await till.capture(await till.order(state), DEPOSIT, purpose="deposit")
    whole = await till.order("paid")
    await till.capture(whole, DEPOSIT, purpose="deposit")
    await till.capture(whole, PRICE - DEPOSIT, purpose="balance")
    for state in ("confirmed", "paying", "expired", "cancelled", "refunded"):
        await till.order(state)
    refunded = await till.order("refunded")
    await till.refund(await till.capture(refunded, PRICE), refunded, PRICE, cause="cancelled")
    late = await till.order("expired")
    payment = await till.capture(late, PRICE, counts=False)
    await till.refund(payment, late, PRICE, cause="late")
    report = await till.audit()
    assert report.broken == ()
    assert report.alerts == ()
    seen = sides(report)
    assert seen[PRICES] == (5 * PRICE - 100, 5 * PRICE - 100, "refunds granted: 100")
    assert seen[DEPOSITS][:2] == (4 * DEPOSIT, 4 * DEPOSIT)
    assert seen["shipments = orders fulfilled"][:2] == (1, 1)
    captured = seen["captured of payments = captures in the money ledger"]
    assert captured[0] == captured[1] == 7 * PRICE + 4 * DEPOSIT
    assert report.counts["refunds_granted"] == 1
    assert report.counts["money_on_its_way"] == 0
    assert {check.invariant for check in report.checks} >= {"INV-12", "INV-18"}


async def test_a_deposit_stays_what_it_was_when_the_item_changes(till: Till):
    """The SKU's price and deposit may be others by now; the payment says what was asked."""
    await till.run("UPDATE sale_items SET deposit_amount = 500 WHERE item = 0")
    await till.capture(await till.order("deposit_paid"), DEPOSIT, purpose="deposit")
    assert await till.broken() == {}


async def test_a_sale_without_money_holds_with_nothing_on_either_side(till: Till):
    seen = sides(await till.audit())
    assert {seen[equation][:2] for equation in (PRICES, DEPOSITS, UNPAID, IDLE)} == {(0, 0)}


async def test_money_on_its_way_back_is_in_transit_for_the_stated_time(till: Till):
    order = await till.order("cancelled")
    await till.capture(order, PRICE, age=30)
    report = await till.audit()
    assert report.holds
    assert sides(report)[UNPAID] == (0, 0, "1 on their way")
    assert report.counts["money_on_its_way"] == 1
    report = await till.audit(money_bounds=MoneyBounds(transit_seconds=10))
    assert [check.equation for check in report.broken] == [UNPAID]


async def test_the_time_counts_from_the_last_change(till: Till):
    for age in (30, 3600):
        order = await till.order("expired", age=age)
        payment = await till.capture(order, PRICE)
        await till.refund(payment, order, PRICE, state="asked", age=3600)
    broken = await till.broken()
    assert (broken[UNPAID].left, broken[UNPAID].right) == (PRICE, 0)
    recent = await till.order("expired")
    payment = await till.capture(recent, PRICE, counts=False)
    await till.refund(payment, recent, PRICE, cause="late", state="asked", age=30)
    assert IDLE not in await till.broken()


async def test_a_capture_not_applied_yet_is_in_transit(till: Till):
    """Before its order knows, and after: the callback was taken a moment ago."""
    for state in ("paying", "paid", "expired"):
        await till.capture(await till.order(state), PRICE, applied=False, counts=False, age=30)
    report = await till.audit()
    assert report.broken == ()
    assert sides(report)[IDLE][2] == "3 on their way"
    assert sides(report)[UNAPPLIED][2] == "3 on their way"


async def test_a_whole_refund_about_to_reach_redis_is_in_transit(till: Till):
    order = await till.order("paid")
    payment = await till.capture(order, PRICE)
    await till.refund(payment, order, PRICE, cause="cancelled", age=30)
    assert set(await till.broken()) == {PRICES}
    await till.run("UPDATE orders SET closing = 'refunded' WHERE id = $1", order)
    report = await till.audit()
    assert report.broken == ()
    assert sides(report)[CLOSING][2] == "1 on their way"


async def test_an_order_about_to_be_closed_is_in_transit(till: Till):
    """Its money found no unit and goes back; Redis found one meanwhile: it gives that up too."""
    order = await till.order("paid")
    payment = await till.capture(order, PRICE, counts=False)
    await till.refund(payment, order, PRICE, cause="late")
    assert set(await till.broken()) == {PRICES}
    await till.run("INSERT INTO outbox (kind, subject) VALUES ('close_emptied', $1)", order)
    assert await till.broken() == {}
    await till.run("UPDATE orders SET closing = 'refunded' WHERE id = $1", order)
    assert await till.broken() == {}


async def test_an_open_checkout_is_nobodys_fault(till: Till):
    await till.payment(await till.order("paying"), PRICE, age=-600)
    report = await till.audit()
    assert report.holds
    assert report.counts["money_on_its_way"] == 0


async def test_events_between_leave_the_order_in_transit(scene: Scene):
    """The order was cancelled in Redis and Postgres has not settled it."""
    till = Till(scene)
    order = await scene.reserve("anna")
    await scene.settle()
    await till.run("UPDATE orders SET settled_at = now() - interval '1 hour'")
    await till.capture(scene.sale.id + order, PRICE)
    assert set(await till.broken()) == {UNPAID}
    await scene.cancel(order, "anna")
    assert await till.broken() == {}
    await scene.settle()
    await till.run("UPDATE orders SET settled_at = now() - interval '1 hour'")
    assert set(await till.broken()) == {UNPAID}


async def test_what_wants_a_persons_eye_is_an_alert(till: Till):
    order = await till.paid_order()
    await till.entry("captured", None, 5, order=order, state="quarantined")
    await till.entry("captured", None, 5, order=order, state="unmatched")
    payment = await till.capture(await till.order("expired"), PRICE, counts=False, age=30)
    await till.refund(payment, order, PRICE, cause="late", state="failed", age=30)
    report = await till.audit()
    assert report.holds
    told = " ".join(report.alerts)
    assert "1 events of the provider are quarantined" in told
    assert "1 events of the provider wait" in told
    assert "1 refunds failed" in told
    counted = ("ledger_quarantined", "ledger_unmatched", "refunds_failed", "payments")
    assert [report.counts[name] for name in counted] == [1, 1, 1, 2]


async def test_a_retired_sale_that_is_not_named_shows_its_sums(till: Till):
    order = await till.paid_order()
    await till.capture(await till.order("cancelled"), PRICE)
    stores = (till.scene.pool, till.scene.inspector)
    (sums,) = await audit(*stores)
    assert sums.holds
    assert UNPAID not in sides(sums)
    (whole,) = await audit(*stores, retired_whole=True)
    assert [check.equation for check in whole.broken] == [UNPAID]
    await till.run("UPDATE payments SET captured = captured + 1 WHERE order_id = $1", order)
    (sums,) = await audit(*stores)
    (check,) = sums.broken
    assert (check.left, check.right) == (2 * PRICE + 1, 2 * PRICE)
