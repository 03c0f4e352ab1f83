"""Fifty clients and a merchant over real HTTP: they buy, pay, decline, cancel, forget and retry."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, field
from random import Random
from typing import Any

from flashsale.access.tokens import fast_issuer
from tests.chaos.history import Answer, History
from tests.chaos.kept import now_ms
from tests.chaos.launch import SKUS, announce
from tests.chaos.world import World

#: Clocks are moved back by up to a minute: a token must be good then, too.
_ISSUED_BEFORE_SECONDS = 300
_TRIES_MAX = 6
#: A sale that was paused must go on again, or the run proves little.
_PATIENT_TRIES_MAX = 60
_STEADY = frozenset({"paid", "fulfilled", "refunded", "cancelled", "expired", "rejected"})


@dataclass(slots=True)
class Shop:
    """A sale and who may call about it; where it is closed, another one takes its place."""

    world: World
    history: History
    units: int
    limit: int
    hold_seconds: int
    sales: list[str] = field(default_factory=list)
    tokens: Any = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        merchant = self.world.merchant
        assert merchant is not None
        self.tokens = fast_issuer(
            merchant.buyer_key, now=time.time() - _ISSUED_BEFORE_SECONDS, ttl_seconds=7200
        )

    @property
    def sale(self) -> str:
        """The sale that goes on."""
        return self.sales[-1]

    async def open(self) -> None:
        """Announce a sale like those before; buyers go there from then on."""
        terms = (self.units, self.limit, self.hold_seconds)
        self.sales.append(await announce(self.history, self.owner, *terms))

    def buyer(self, name: str) -> dict[str, str]:
        """What a buyer's calls carry."""
        return {"Authorization": f"Bearer {self.tokens(name)}"}

    @property
    def owner(self) -> dict[str, str]:
        """What the merchant's calls carry."""
        assert self.world.merchant is not None
        return {"Authorization": f"Bearer {self.world.merchant.api_key}"}

    async def pause(self, seconds: float) -> None:
        """Wait, but not beyond the end of the run."""
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            pass


@dataclass(slots=True)
class Client:
    """One client, who acts for one buyer after the other."""

    shop: Shop
    number: int
    random: Random
    _keys: Any = field(default_factory=lambda: itertools.count(1))

    async def live(self) -> None:
        """Buy until the run is over."""
        for turn in itertools.count():
            if self.shop.stopping.is_set():
                return
            await self._journey(f"buyer-{self.number}-{turn // 2}")
            await self.shop.pause(self.random.uniform(0.05, 0.4))

    async def _call(self, op: str, method: str, path: str, buyer: str, **more: Any) -> Answer:
        return await self.shop.history.call(
            self.number,
            op,
            method,
            path,
            headers=self.shop.buyer(buyer),
            buyer=buyer,
            **more,
        )

    async def _reserve(self, buyer: str, sale: str, key: str, sku: str, quantity: int) -> Answer:
        body = {"sku": sku, "quantity": quantity}
        path = f"/v1/sales/{sale}/orders"
        args = {**body, "sale": sale}
        return await self._call("reserve", "POST", path, buyer, key=key, json=body, args=args)

    async def _surely(self, buyer: str, sale: str, key: str, sku: str, quantity: int) -> Answer:
        """Ask with one key until an answer comes, as every client should."""
        for attempt in range(_TRIES_MAX):
            answer = await self._reserve(buyer, sale, key, sku, quantity)
            unsold = answer.ok is None or answer.code == "paused"
            if not unsold or self.shop.stopping.is_set():
                break
            await self.shop.pause(0.1 * (attempt + 1))
        return answer

    async def _journey(self, buyer: str) -> None:
        dice = self.random.random()
        sale, sku = self.shop.sale, self.random.choice(SKUS)
        quantity = self.random.choice((1, 1, 2))
        key = f"{buyer}-{next(self._keys)}"
        if dice < 0.08:  # two at once with one key
            answer, _ = await asyncio.gather(
                *(self._reserve(buyer, sale, key, sku, quantity) for _ in range(2))
            )
        elif dice < 0.16:  # two at once with a key each: together above the limit
            answer, _ = await asyncio.gather(
                *(self._reserve(buyer, sale, key + end, sku, self.shop.limit) for end in ("", "-b"))
            )
        else:
            answer = await self._surely(buyer, sale, key, sku, quantity)
        if not answer.ok:
            return
        order = answer.body["id"]
        if self.random.random() < 0.1:  # again, also with another body
            await self._reserve(buyer, sale, key, sku, quantity)
            await self._reserve(buyer, sale, key, sku, quantity + 1)
        await self._read(buyer, order)
        await self._decide(buyer, order)

    async def _read(self, buyer: str, order: str) -> Answer:
        return await self._call("read", "GET", f"/v1/orders/{order}", buyer, order=order)

    async def _decide(self, buyer: str, order: str) -> None:
        dice = self.random.random()
        if dice < 0.55:
            await self._pay(buyer, order)
        elif dice < 0.75:
            await self.shop.pause(self.random.uniform(0, 1.5))
            await self._cancel(buyer, order)
        elif dice < 0.92:  # forgets it, and looks later what has become of it
            await self.shop.pause(3.6)
            await self._read(buyer, order)
        else:
            await self._call("list", "GET", "/v1/orders", buyer)

    async def _cancel(self, buyer: str, order: str) -> None:
        for _ in range(2):
            path = f"/v1/orders/{order}/cancel"
            answer = await self._call("cancel", "POST", path, buyer, order=order, json={})
            if answer.ok is not None:
                break
        await self._read(buyer, order)

    async def _pay(self, buyer: str, order: str) -> None:
        path = f"/v1/orders/{order}/payments"
        answer = Answer(None, None, {})
        for attempt in range(_TRIES_MAX):
            answer = await self._call("pay", "POST", path, buyer, order=order)
            waits = {"order_not_confirmed", "order_closing", "payment_in_progress"}
            if answer.ok or (answer.ok is False and answer.code not in waits):
                break
            await self.shop.pause(0.15 * (attempt + 1))
        if not answer.ok or not answer.body.get("checkout_url"):
            await self._read(buyer, order)
            return
        dice = self.random.random()
        action = "pay" if dice < 0.72 else "decline" if dice < 0.84 else "late"
        if dice > 0.96:
            return  # the page is left open until its time is over
        await self._checkout(buyer, order, answer, action)
        for attempt in range(5):
            read = await self._read(buyer, order)
            if read.state in _STEADY:
                break
            await self.shop.pause(0.2 * (attempt + 1))
        if self.random.random() < 0.2:
            await self._cancel(buyer, order)

    async def _checkout(self, buyer: str, order: str, payment: Answer, action: str) -> None:
        await self.shop.pause(self.random.uniform(0, 0.5))
        for attempt in range(_TRIES_MAX):
            answer = await self.shop.history.call(
                self.number,
                "checkout",
                "POST",
                payment.body["checkout_url"],
                headers={},
                buyer=buyer,
                order=order,
                args={"payment": payment.body["id"], "action": action},
                data={"action": action},
            )
            if answer.ok is not None:
                break
            await self.shop.pause(0.2 * (attempt + 1))


@dataclass(slots=True)
class Merchant:
    """Edits the running sale, and looks at it."""

    shop: Shop
    random: Random

    async def live(self) -> None:
        """Work until the run is over."""
        for number in itertools.count(1):
            await self.shop.pause(self.random.uniform(0.5, 1.2))
            if self.shop.stopping.is_set():
                return
            await self._look()
            if number % 3 == 0:
                await self.supply(self.random.choice((4, 8, 12, -3, -6)))

    async def supply(self, quantity: int, at: str | None = None) -> Answer:
        """Add or take back units, now or at an instant, with one key until an answer comes."""
        body = {"sku": self.random.choice(SKUS), "quantity": quantity, "reason": "chaos"}
        body |= {} if at is None else {"at": at}
        key = f"supply-{now_ms()}-{self.random.random()}"
        return await self._surely("supply", self.shop.sale, key=key, json=body, args=body)

    async def act(self, action: str, sale: str) -> Answer:
        """Pause, resume or close a sale, until an answer comes."""
        return await self._surely(action, sale, tries_max=_PATIENT_TRIES_MAX)

    async def follow_up(self) -> None:
        """Announce the sale that takes the place of one that was closed."""
        await self.shop.open()

    async def _surely(
        self, op: str, sale: str, *, tries_max: int = _TRIES_MAX, **more: Any
    ) -> Answer:
        args = {**more.pop("args", {}), "sale": sale}
        path = f"/v1/merchant/sales/{sale}/{op}"
        answer = Answer(None, None, {})
        for _ in range(tries_max):
            answer = await self._call(op, "POST", path, args=args, **more)
            if answer.ok is not None:
                break
            await asyncio.sleep(0.3)
        return answer

    async def _look(self) -> None:
        await self._call("sale", "GET", f"/v1/merchant/sales/{self.shop.sale}")

    async def _call(self, op: str, method: str, path: str, **more: Any) -> Answer:
        return await self.shop.history.call(-1, op, method, path, headers=self.shop.owner, **more)


async def live_all(shop: Shop, clients: int, seed: int) -> None:
    """All of them, until the shop is told to stop."""
    everybody = [Client(shop, number, Random(f"{seed}/{number}")) for number in range(clients)]
    merchant = Merchant(shop, Random(f"{seed}/merchant"))
    async with asyncio.TaskGroup() as group:
        for client in everybody:
            group.create_task(client.live())
        group.create_task(merchant.live())
