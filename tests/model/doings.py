"""What can be done to a sale: each is done for real, and its answer compared with the model's."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

from flashsale.orders.values import OrderView
from flashsale.payments.provider import MoneyKind
from flashsale.payments.values import Begun
from flashsale.reservation.errors import StoreError
from flashsale.reservation.replies import Request
from flashsale.sales.errors import (
    EffectPendingError,
)
from tests.model.shadow import OPEN_ENDED, WITH_MONEY, Shadow
from tests.model.stage import OWING, Stage


@dataclass
class Doings:
    """The actions of one example; numbers that rules draw are taken modulo what there is."""

    stage: Stage
    checkouts: list[tuple[str, str, str]] = field(default_factory=list)
    heard: set[str] = field(default_factory=set)
    met: set[str] = field(default_factory=set)
    past: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.world, self.shadow = self.stage.world, self.stage.shadow

    def _order(self, number: int) -> str | None:
        names = list(self.shadow.orders)
        return names[number % len(names)] if names else None

    @property
    def cut(self) -> bool:
        """Whether Redis is out of reach in the middle of something."""
        return (self.world.store.way.calls_left or 0) < 0

    async def interrupted(
        self, doing: Coroutine[Any, Any, Any], calls: int, *, answered: bool
    ) -> None:
        """Redis is out of reach after so many calls, perhaps before it has answered the last."""
        way = self.world.store.way
        way.calls_left, way.answered = calls, answered
        try:
            await doing
        except (StoreError, EffectPendingError):
            assert self.cut or not answered
            self.met.add("interrupted")
        finally:
            way.calls_left = None
        await self.stage.look_again()

    async def _now(self) -> int:
        return await self.world.store.now_ms()

    # Buyers

    async def reserve(self, wishes: list[tuple[str, str, int, int]]) -> None:
        """A batch of (buyer, key, item, quantity): one call decides what is of one lane."""
        if self.shadow.retired:
            return
        for number, lane in enumerate(self.shadow.lanes):
            mine = [wish for wish in wishes if self.shadow.lane_of(wish[0]) is lane]
            if mine:
                await self._reserve(number, lane, mine)

    async def _reserve(
        self, number: int, lane: Shadow, wishes: list[tuple[str, str, int, int]]
    ) -> None:
        requests, expected = [], []
        trial = replace(lane, orders=dict(lane.orders), log=dict(lane.log))
        for buyer, key, at, quantity in wishes:
            name = self.world.order(self.stage.sale.id, buyer, key)
            requests.append(Request(name, buyer, at, quantity))
            answer = trial.asked(name, buyer, at, quantity)
            expected.append(answer)
            if answer == "RESERVED":
                trial.hold(name, buyer, at, quantity)
        decisions = await self.world.store.reserve(*self.stage.place(number), requests)
        assert [each.status.value for each in decisions] == expected, "INV-10, INV-13: answers"
        self.met |= set(expected)

    async def cancel(self, number: int) -> None:
        name = self._order(number)
        if name is None:
            return
        before, settled = self.shadow.orders[name], name in self.shadow.ledger
        buyer = self.world.buyer(before.buyer)
        answer = await self.world.parts.cancelling.cancel(buyer, self.stage.sale.id + name)
        await self.stage.check()
        after = self.shadow.orders[name]
        if self.cut:
            return
        if before.state in OPEN_ENDED:
            assert isinstance(answer, OrderView), answer
            assert after.state == "cancelled"
        elif before.state not in WITH_MONEY or not settled:
            assert after == before, "INV-11: what ended, or is not settled, was given back"

    async def begin_of(self, buyer: str, key: str) -> None:
        """Pay what was reserved so, if it was."""
        names = list(self.shadow.orders)
        name = self.world.order(self.stage.sale.id, buyer, key)
        await self.begin(names.index(name) if name in names else 0)

    async def begin(self, number: int) -> None:
        name = self._order(number)
        if name is None:
            return
        before, known = self.shadow.orders[name], self.shadow.ledger.get(name)
        order = self.stage.sale.id + name
        under_way = await self.world.pool.fetchval(
            "SELECT count(*) FROM payments WHERE order_id = $1 AND applied_at IS NULL", order
        )
        now = await self._now()
        buyer = self.world.buyer(before.buyer)
        answer = await self.world.parts.payments.begin(buyer, order)
        await self.stage.check()
        after = self.shadow.orders[name]
        if isinstance(answer, Begun):
            # A disk may have been lost with the event that the payment began by. What has ended
            # shows no checkout, whether or not that is settled.
            forgotten = answer.replayed and "recovered" in self.past and after == before
            forgotten &= before.state == "held"
            owing = self.stage.behind.get(name) in OWING
            assert after.state == "paying" or forgotten or owing, (before, after)
            self.met |= {"balance"} if owing else set()
            payment = answer.payment
            if payment.checkout_url is not None:
                self.checkouts.append((name, payment.id, payment.checkout_url))
            self.met.add("paying")
            return
        assert after == before
        payable = before.state == "held" and before.hold_until > now and not under_way
        fresh = known is not None and known.state == "held" and name not in self.stage.closing
        assert not (payable and fresh and self.stage.state != "cancelled"), answer

    async def press(self, number: int, action: str) -> None:
        """A button of a checkout, perhaps long after anybody waits for it."""
        if self.checkouts:
            _, payment, url = self.checkouts[number % len(self.checkouts)]
            await self.world.press(url, payment, action)

    async def change_item(self, number: int, at: int) -> None:
        name = self._order(number)
        if name is None:
            return
        before = self.shadow.orders[name]
        buyer = self.world.buyer(before.buyer)
        if name not in self.shadow.ledger:
            return
        await self.world.changes.change(buyer, self.stage.sale.id + name, f"sku-{at}")
        await self.stage.check()
        after = self.shadow.orders[name]
        assert after.item in {before.item, at}
        self.met |= {"changed"} if after.item != before.item else set()

    # The provider

    async def hear(self, number: int, *, again: bool) -> None:
        """A callback arrives: any that is on its way, or one that came before."""
        letters = self._letters()
        waiting = [each for each in letters if each not in self.heard] if not again else letters
        if waiting:
            letter = waiting[number % len(waiting)]
            self.heard.add(letter)
            await self.world.hear(letter)

    def _letters(self) -> list[str]:
        # That a checkout was closed is told some time after; nothing depends on it.
        told = self.world.mail.letters.values()
        return sorted(
            (event.id for *_, event in told if event.kind is not MoneyKind.EXPIRED),
            key=lambda each: (each in self.heard, each),
        )

    async def work(self) -> int:
        return await self.world.work(self.stage.sale.id)

    # The clock

    async def advance(self, seconds: int) -> None:
        self.stage.ahead += seconds
        await self.world.set_clock(self.stage.sale.id, self.stage.ahead)

    async def expire(self, limit: int) -> int:
        """What the timekeeper does to holds."""
        if self.shadow.retired:
            return 0
        return sum([await self._expire(number, limit) for number in range(len(self.shadow.lanes))])

    async def _expire(self, number: int, limit: int) -> int:
        lane, place = self.shadow.lanes[number], self.stage.place(number)
        if lane.state == "cancelled":
            live = [one for one in lane.orders.values() if one.state in OPEN_ENDED]
            done = await self.world.store.cancel_holds(*place, limit)
            assert done == min(limit, len(live))
            return done
        due = lane.overdue(await self._now())
        expired = await self.world.store.expire_due(*place, limit)
        assert expired.count == min(limit, len(due)), "INV-18: what is overdue ends"
        self.met |= {"expired"} if due else set()
        return expired.count
