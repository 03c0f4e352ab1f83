"""What can be done to a sale: each is done for real, and its answer compared with the model's."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from flashsale.orders.values import OrderView
from flashsale.payments.provider import MoneyKind
from flashsale.payments.values import Begun
from flashsale.reservation.replies import Request
from flashsale.sales.errors import IllegalTransitionError, SupplyBelowLiveError
from flashsale.sales.forms import SupplyForm, parse_form
from flashsale.sales.queries import due_supplies
from flashsale.sales.supply import carry_out
from tests.model.shadow import OPEN_ENDED, WITH_MONEY
from tests.model.stage import Stage


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

    async def _now(self) -> int:
        return await self.world.store.now_ms()

    # Buyers

    async def reserve(self, wishes: list[tuple[str, str, int, int]]) -> None:
        """A batch of (buyer, key, item, quantity), decided by one call."""
        sale, shadow = self.stage.sale, self.shadow
        if shadow.retired:
            return
        requests, expected = [], []
        trial = replace(shadow, orders=dict(shadow.orders), log=dict(shadow.log))
        for buyer, key, at, quantity in wishes:
            name = self.world.order(sale.id, buyer, key)
            requests.append(Request(name, buyer, at, quantity))
            answer = trial.asked(name, buyer, at, quantity)
            expected.append(answer)
            if answer == "RESERVED":
                trial.hold(name, buyer, at, quantity)
        decisions = await self.world.store.reserve(*self.stage.place, requests)
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
        if before.state in OPEN_ENDED:
            assert isinstance(answer, OrderView), answer
            assert after.state == "cancelled"
        elif before.state not in WITH_MONEY or not settled:
            assert after == before, "INV-11: what ended, or is not settled, was given back"

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
            # A disk may have been lost with the event that the payment began by.
            forgotten = answer.replayed and "recovered" in self.past and after == before
            assert after.state == "paying" or forgotten, (before, after)
            payment = answer.payment
            if payment.checkout_url is not None:
                self.checkouts.append((name, payment.id, payment.checkout_url))
            self.met.add("paying")
            return
        assert after == before
        payable = before.state == "held" and before.hold_until > now and not under_way
        fresh = known is not None and known.state == "held" and name not in self.stage.closing
        assert not (payable and fresh and self.shadow.state != "cancelled"), answer

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
        return await self.world.work()

    # The merchant

    async def refund(self, number: int) -> None:
        name = self._order(number)
        if name is None:
            return
        order = self.stage.sale.id + name
        await self.world.parts.refunds.ask(self.world.merchant, order, f"key-{name}", None, "why")

    async def command(self, action: str) -> None:
        """Pause, resume, close or cancel."""
        service, before = self.world.service, self.shadow.state
        legal = {
            "pause": {"open", "paused"},
            "resume": {"paused", "open"},
            "close": {"open", "paused", "closed"},
            "cancel": {"open", "paused", "cancelled"},
        }[action]
        try:
            await getattr(service, action)(self.world.merchant, self.stage.sale.id)
        except IllegalTransitionError:
            assert before not in legal or action == "resume", f"{action} of a sale {before}"
        await self.stage.look_again()

    async def supply(self, at: int, quantity: int) -> None:
        """A wave, or a cut of what is unsold."""
        form = {"sku": f"sku-{at}", "quantity": quantity, "reason": "wave"}
        before = self.shadow.available(at)
        try:
            await self.world.service.add_supply(
                self.world.merchant, self.stage.sale.id, parse_form(SupplyForm, form)
            )
        except SupplyBelowLiveError:
            assert before + quantity < 0, "a cut of unsold units was refused"
        except IllegalTransitionError:
            assert self.shadow.state in {"closed", "cancelled"}

    # The clock

    async def advance(self, seconds: int) -> None:
        self.stage.ahead += seconds
        await self.world.set_clock(self.stage.sale.id, self.stage.ahead)

    async def expire(self, limit: int) -> int:
        """What the timekeeper does to holds."""
        if self.shadow.retired:
            return 0
        if self.shadow.state == "cancelled":
            live = [one for one in self.shadow.orders.values() if one.state in OPEN_ENDED]
            done = await self.world.store.cancel_holds(*self.stage.place, limit)
            assert done == min(limit, len(live))
            return done
        due = self.shadow.overdue(await self._now())
        expired = await self.world.store.expire_due(*self.stage.place, limit)
        assert expired.count == min(limit, len(due)), "INV-18: what is overdue ends"
        self.met |= {"expired"} if due else set()
        return expired.count

    async def sweep(self) -> None:
        """What nobody calls for is looked for: by the payments, and by who keeps the time."""
        await self.world.parts.sweep.tick()
        clock = self.world.parts.clock()
        for supply in await due_supplies(self.world.pool, clock, 100):
            await carry_out(self.world.pool, self.world.store, supply)
