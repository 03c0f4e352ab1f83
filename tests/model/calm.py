"""The end of an example: all that is under way comes to its end, then everything is compared."""

from __future__ import annotations

from flashsale.reconciliation.audit import audit
from flashsale.reservation.inspector import LaneInspector
from tests.model.shadow import OPEN_ENDED
from tests.model.stage import DEPOSIT, OWING, PRICE
from tests.model.troubles import Troubles

_ROUNDS_MAX = 12
#: Of each unit, by the end of its order.
_KEPT = {"paid": PRICE, "deposit_paid": DEPOSIT, "forfeited": DEPOSIT}


async def calm(doings: Troubles) -> None:
    """Let everything happen that is still to happen, and hold the stores to INV-4, 9, 12, 15, 18.

    The clock goes on until no hold and no checkout is left.
    """
    for _ in range(_ROUNDS_MAX):
        heard = await _hear_all(doings)
        await doings.settle_all()
        done = await doings.work()
        await doings.stage.check()
        moved = await doings.collect(1)
        await doings.sweep()
        ended = await doings.expire(100)
        await doings.stage.check()
        await doings.settle_all()
        waiting = await doings.world.pool.fetch("SELECT kind, subject, last_error FROM outbox")
        if not (heard or done or moved or ended or waiting):
            break
    assert not waiting, f"INV-18: {[dict(row) for row in waiting]} is never done"
    await doings.stage.check()
    await _compare(doings)


async def _hear_all(doings: Troubles) -> int:
    letters = [each for each in doings.world.mail.letters if each not in doings.heard]
    for letter in letters:
        doings.heard.add(letter)
        await doings.world.hear(letter)
    return len(letters)


async def _compare(doings: Troubles) -> None:
    shadow, world, sale = doings.shadow, doings.world, doings.stage.sale.id
    assert not shadow.unsettled()
    told = {lane.state for lane in shadow.lanes}
    assert told == {doings.stage.state}, "a lane is never told what the sale is meant to be"
    assert shadow.orders.keys() == shadow.ledger.keys(), "INV-9"
    for name, order in shadow.orders.items():
        kept = shadow.ledger[name]
        assert (order.state, order.version, order.item) == (kept.state, kept.version, kept.item)
        assert order.state not in OPEN_ENDED, "INV-18: nobody ends it"
        each = _KEPT.get(order.state, 0)
        if order.state == "deposit_paid":
            behind = doings.stage.behind[name]
            assert behind not in OWING, "INV-18: nobody asks for what it owes"
            each = PRICE if behind == "paid" else DEPOSIT
        if doings.stage.state == "cancelled":
            assert each == 0 or order.state == "forfeited", "a sale that was called off keeps money"
        assert await world.money(sale + name) == order.quantity * each, f"INV-12: {order}"
        doings.met.add(order.state)
    assert doings.stage.closing == {}, "what was begun to be closed is never closed"
    (report,) = await audit(world.pool, LaneInspector(world.redis), sale)
    assert report.holds, [str(check) for check in report.broken]
