"""What a merchant does to a running sale, and what the engine does by itself about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta

from flashsale.preorders.errors import NotAPreorderError
from flashsale.preorders.forms import LotForm
from flashsale.sales.effects import bring_in_line
from flashsale.sales.errors import (
    EffectPendingError,
    IllegalTransitionError,
    SupplyBelowLiveError,
    UnknownSkuError,
)
from flashsale.sales.forms import ItemForm, SupplyForm, parse_form
from flashsale.sales.queries import due_supplies, half_refused_supplies
from flashsale.sales.supply import carry_out
from tests.model.doings import Doings
from tests.model.stage import item_of

ITEMS_MAX = 3


@dataclass
class Merchant(Doings):
    """Commands, SKUs, supplies, lots; and who takes care of what they have begun."""

    added: ItemForm | None = None
    lots: int = 0

    async def refund(self, number: int) -> None:
        name = self._order(number)
        if name is None:
            return
        order = self.stage.sale.id + name
        await self.world.parts.refunds.ask(self.world.merchant, order, f"key-{name}", None, "why")

    async def command(self, action: str) -> None:
        """Pause, resume, close or cancel."""
        service, before = self.world.service, self.stage.state
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
            assert self.stage.state in {"closed", "cancelled"}
        except UnknownSkuError:
            assert at >= len(self.stage.sale.items)
        except EffectPendingError:
            # A lane that has not heard of the item yet cannot be told of its supply.
            if self.cut or all(at < len(lane.capacity) for lane in self.shadow.lanes):
                raise

    async def add_item(self, supply: int) -> None:
        """One more SKU; once there are enough, the last one is asked for again."""
        count, kind = len(self.stage.sale.items), self.shadow.lanes[0].kind
        if count < ITEMS_MAX:
            self.added = parse_form(ItemForm, item_of(kind, count, supply))
        try:
            await self.world.service.add_item(self.world.merchant, self.stage.sale.id, self.added)
        except IllegalTransitionError:
            assert count < ITEMS_MAX
            assert self.stage.state in {"closed", "cancelled"}
        await self.stage.look_again()

    async def lot(self, at: int, quantity: int) -> None:
        """Units of a pre-order arrive, and are given to those who wait."""
        form, key = (
            {"sku": f"sku-{at}", "quantity": quantity, "reason": "dock 4"},
            f"lot-{self.lots}",
        )
        self.lots += 1
        try:
            await self.world.preorders.add_lot(
                self.world.merchant, self.stage.sale.id, parse_form(LotForm, form), key
            )
        except IllegalTransitionError:
            assert self.stage.state == "cancelled"
        except UnknownSkuError:
            assert at >= len(self.stage.sale.items)
        except NotAPreorderError:
            assert self.shadow.lanes[0].kind != "preorder"
        await self.collect(0)

    # By itself

    async def collect(self, hours: int) -> bool:
        """Lots are given out; balances are asked for, charged, given up. Whether any was."""
        await self.advance(hours * 3600)
        clock = self.world.preorder_clock
        before = asdict(clock.counts)
        while await clock.tick(self.world.parts.clock() + timedelta(seconds=5)):
            pass
        await self.stage.check()
        self.met |= set(self.stage.behind.values())
        return asdict(clock.counts) != before

    async def sweep(self) -> None:
        """What nobody calls for is looked for: by the payments, and by who keeps the time."""
        await self.world.parts.sweep.tick()
        clock = self.world.parts.clock()
        pool, store = self.world.pool, self.world.store
        await bring_in_line(pool, store, self.stage.sale.id)
        due = await due_supplies(pool, clock, 100) + await half_refused_supplies(pool, 100)
        for supply in due:
            await carry_out(pool, store, supply)
