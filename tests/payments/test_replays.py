"""A checkout that is asked for again is shown while its order may be paid, and no longer."""

from __future__ import annotations

import pytest

from flashsale.orders.values import OrderView, Refusal
from flashsale.payments.opening import Opening
from flashsale.payments.values import Begun
from tests.payments.till import Till


async def never(*_: object) -> None:
    """Whoever believes Postgres alone."""


@pytest.mark.parametrize("asked", [True, False], ids=["", "control"])
async def test_a_cancelled_order_shows_its_checkout_no_more(till: Till, monkeypatch, asked: bool):
    """Redis has cancelled it; the row still says that it is being paid."""
    if not asked:
        monkeypatch.setattr(Opening, "_still_kept", never)
    sale, buyer = await till.shop.scheduled(), till.buyer()
    order = await till.order(sale, buyer)
    begun = await till.begin(buyer, order)
    await till.settle()
    assert await till.parts.payments.begin(buyer, order) == Begun(begun, replayed=True)
    assert isinstance(await till.parts.cancelling.cancel(buyer, order), OrderView)
    again = await till.parts.payments.begin(buyer, order)
    assert (again == Refusal("order_not_payable")) == asked
    assert (again == Begun(begun, replayed=True)) != asked
    await till.calm()
    assert await till.parts.payments.begin(buyer, order) == Refusal("order_not_payable")


async def test_an_expired_order_shows_its_checkout_no_more(till: Till):
    sale, buyer = await till.shop.scheduled(), till.buyer()
    order = await till.order(sale, buyer)
    await till.begin(buyer, order)
    await till.settle()
    await till.run_out(sale, order)
    assert (await till.shop.store.expire_due(sale.id, 0, sale.epoch, 10)).count == 1
    assert await till.parts.payments.begin(buyer, order) == Refusal("hold_expired")
    await till.calm()
