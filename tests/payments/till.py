"""Everything that payments consist of, on real stores, with the real sandbox as the provider."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
from aiohttp import web

from flashsale.access.tokens import Buyer
from flashsale.domain.identity import order_hash
from flashsale.domain.orders import OrderState
from flashsale.domain.outcomes import Status
from flashsale.orders.board import Board
from flashsale.orders.service import OrderDesk
from flashsale.payments.provider import MoneyKind, ProviderEvent
from flashsale.payments.providers.sandbox import SandboxProvider
from flashsale.payments.records import PaymentRecord
from flashsale.payments.values import Begun, PaymentView, Taken
from flashsale.reservation.keys import lane_keys
from flashsale.reservation.replies import Request
from flashsale.sales.queries import find_sale
from flashsale.sales.values import SaleFacts
from flashsale.sandbox.app import serving
from flashsale.settlement.ledger import Ledger
from flashsale.settlement.worker import SettlementWorker
from tests.payments.parts import Clock, Parts
from tests.sales.shop import Shop

KEY = "sandbox-test-key-0123456789abcdef"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr"
PRICE = 199900
PATIENCE_SECONDS = 30  # of a test that would otherwise hang; nothing is judged by it
ORDER_SECRET = b"s" * 32
_numbers = itertools.count(1)


@dataclass
class Till:
    """A shop whose orders can be paid; `parts` is the one healthy process."""

    shop: Shop
    parts: Parts
    worker: SettlementWorker
    browser: aiohttp.ClientSession
    sandbox_url: str
    broken: list[Parts] = field(default_factory=list)
    callbacks: int = 0
    heard_until: str | None = None

    @property
    def pool(self) -> asyncpg.Pool:
        return self.shop.pool

    def buyer(self, name: str | None = None) -> Buyer:
        return Buyer(self.shop.merchant, name or f"buyer-{next(_numbers)}")

    async def order(
        self, sale: SaleFacts, buyer: Buyer, quantity: int = 1, *, settled: bool = True,
        item: int = 0,
    ) -> str:  # fmt: skip
        """An order, settled unless that is still to come."""
        name = order_hash(ORDER_SECRET, sale.id, buyer.subject, str(next(_numbers)))
        request = Request(name, buyer.subject, item, quantity)
        (decision,) = await self.shop.store.reserve(sale.id, 0, sale.epoch, [request])
        assert decision.status is Status.RESERVED, decision
        if settled:
            await self.settle()
        return sale.id + name

    async def settle(self) -> None:
        await self.worker.settle_available()

    async def begin(self, buyer: Buyer, order: str) -> PaymentView:
        begun = await self.parts.payments.begin(buyer, order)
        assert isinstance(begun, Begun), begun
        return begun.payment

    async def tell(self, payment: str, kind: MoneyKind, **changes: Any) -> Taken:
        """What a provider would tell of a payment; a new event unless `id` says otherwise."""
        known = (await self.payment(payment)) if not changes.get("unknown") else None
        changes.pop("unknown", None)
        event = event_of(payment, kind, known, **changes)
        return await self.parts.intake.take("sandbox", event)

    async def paid(self, sale: SaleFacts, buyer: Buyer | None = None, quantity: int = 1) -> str:
        """An order that is paid, to the end."""
        buyer = buyer or self.buyer()
        order = await self.order(sale, buyer, quantity)
        await self.press((await self.begin(buyer, order)).checkout_url, "pay")
        await self.calm()
        assert await self.state(order) is OrderState.PAID
        return order

    async def press(self, url: str | None, action: str) -> None:
        """A button of the sandbox' page, and the wait for what it tells of that."""
        assert url is not None
        async with self.browser.post(
            url, data={"action": action}, allow_redirects=False
        ) as response:
            assert response.status == 303, await response.text()
        await self.heard()

    async def heard(self) -> None:
        """Until everything that the sandbox tells has been taken."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self.unheard():
                await asyncio.sleep(0.005)

    async def unheard(self) -> set[str]:
        """Movements of the sandbox' statement that are not in the ledger."""
        said = [line.event_id async for line in self.parts.provider.statement(self.heard_until)]
        known = await self.pool.fetch(
            "SELECT event_id FROM ledger_entries WHERE event_id = ANY ($1)", said
        )
        left = set(said) - {row["event_id"] for row in known}
        if said and not left:
            self.heard_until = said[-1]
        return left

    async def calm(self) -> None:
        """Everything done that is to be done, wherever it stands."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            for quiet in itertools.count():
                # First: what is taken from here on is seen by what follows.
                unheard = await self.unheard()
                await self.settle()
                await self.pool.execute("UPDATE outbox SET due_at = now()")
                done = await self.parts.outbox.tick()
                waiting = await self.pool.fetchval("SELECT count(*) FROM outbox")
                if quiet and not (unheard or done or waiting):
                    await self.settle()
                    return
                await asyncio.sleep(0.002)

    async def run_out(self, sale: SaleFacts, order: str) -> None:
        """Its hold, and its checkout, have had their time; nobody has looked yet."""
        keys, name = lane_keys(sale.id, 0), order[12:]
        record = (await self.shop.redis.hget(keys.holds, name)).split(":")
        record[4] = "1000"
        await self.shop.redis.hset(keys.holds, name, ":".join(record))
        await self.shop.redis.zadd(keys.deadlines, {name: 1000})

    async def expire(self, sale: SaleFacts, order: str) -> None:
        """End an order as the timekeeper does once its time is up."""
        await self.run_out(sale, order)
        assert (await self.shop.store.expire_due(sale.id, 0, sale.epoch, 10)).count == 1
        await self.settle()
        assert await self.state(order) is OrderState.EXPIRED

    async def state(self, order: str) -> OrderState:
        return OrderState(await self.pool.fetchval("SELECT state FROM orders WHERE id = $1", order))

    async def payment(self, payment: str) -> PaymentRecord:
        from flashsale.payments.queries import find_payment

        found = await find_payment(self.pool, payment)
        assert found is not None
        return found

    async def refunds(self, order: str) -> list[tuple[str, int, str]]:
        """(cause, amount, state) of everything that goes back."""
        found = await self.parts.refunds.of_order(order)
        return [(each.cause.value, each.amount.amount, each.state.value) for each in found]

    async def money(self, order: str) -> int:
        """What the provider has kept of an order, by its own statement."""
        lines = [line async for line in self.parts.provider.statement(None)]
        mine = [each for each in lines if (each.payment_id or "").startswith(order)]
        return sum(
            each.amount if each.kind is MoneyKind.CAPTURED else -each.amount for each in mine
        )

    async def audit(self, sale: SaleFacts) -> None:
        """Redis and Postgres agree on every unit, and money on every order (INV-4, INV-12)."""
        live = await self.pool.fetch(
            """SELECT i.item, i.live, coalesce(sum(o.quantity) FILTER (WHERE o.state = ANY ($2)),
                0) AS held FROM sale_items i LEFT JOIN orders o USING (sale_id, item)
                WHERE i.sale_id = $1 GROUP BY i.item, i.live ORDER BY i.item""",
            sale.id,
            LIVE,
        )
        assert [row["live"] for row in live] == [row["held"] for row in live]
        stock = (await self.shop.store.snapshot(sale.id, 0)).stock
        assert [each.held + each.paying + each.sold for each in stock] == [
            row["live"] for row in live
        ]
        orders = await self.pool.fetch("SELECT * FROM orders WHERE sale_id = $1", sale.id)
        for order in orders:
            kept = await self.pool.fetchval(
                "SELECT coalesce(sum(captured - refunded), 0) FROM payments WHERE order_id = $1",
                order["id"],
            )
            owed = order["quantity"] * order["unit_amount"] if order["state"] in PAID else 0
            assert kept == owed, (order["state"], kept)
            assert kept == await self.money(order["id"])
            assert order["closing"] is None

    def broken_process(self, faults: Any) -> Parts:
        """A process of its own on stores that `faults` stands before."""
        parts = Parts(
            faults.pool(self.pool),
            faults.proxy(self.parts.store),
            faults.proxy(self.parts.provider),
            self.parts.clock,
            self.parts.desk,
        )
        self.broken.append(parts)
        return parts


LIVE = ["confirmed", "paying", "paid", "deposit_paid", "allocated", "balance_due", "fulfilled"]
PAID = {"paid", "fulfilled"}


def event_of(
    payment: str, kind: MoneyKind, known: PaymentRecord | None = None, **changes: Any
) -> ProviderEvent:
    """An event as the sandbox' client would read it."""
    fields: dict[str, Any] = {
        "id": f"evt_{next(_numbers)}",
        "kind": kind,
        "type": f"payment.{kind.value}",
        "payment_id": payment,
        "refund_id": None,
        "ref": known.provider_ref if known else None,
        "amount": known.amount if known else PRICE,
        "currency": known.currency if known else "CNY",
        "fee": 0,
        "occurred_at_ms": 1_000,
        "payload": {"some": "thing\x00"},
    }
    return ProviderEvent(**{**fields, **changes})


@dataclass
class _Receiver:
    """Where the sandbox calls: verifies and takes, as the web does."""

    till: Till | None = None

    async def take(self, request: web.Request) -> web.Response:
        assert self.till is not None
        body = await request.read()
        headers: Mapping[str, str] = request.headers
        event = self.till.parts.provider.verify(headers, body, time.time())
        await self.till.parts.intake.take("sandbox", event)
        self.till.callbacks += 1
        return web.Response()


@contextlib.asynccontextmanager
async def open_till(shop: Shop, folder: Path) -> AsyncIterator[Till]:
    receiver = _Receiver()
    app = web.Application()
    app.router.add_post("/callbacks", receiver.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/callbacks"
    board = Board(partial(find_sale, shop.pool), shop.store, batch_max=16, waiting_max=64)
    desk = OrderDesk(board, shop.store, Ledger(shop.pool), ORDER_SECRET)
    async with (
        serving(
            folder / "sandbox.db",
            host="127.0.0.1",
            port=0,
            key=KEY,
            secrets=(SECRET,),
            callback_url=url,
        ) as (host, port),
        aiohttp.ClientSession() as browser,
    ):
        sandbox_url = f"http://{host}:{port}"
        provider = SandboxProvider(sandbox_url, api_key=KEY, webhook_secrets=(SECRET,))
        parts = Parts(shop.pool, shop.store, provider, Clock(), desk)
        worker = SettlementWorker(shop.pool, shop.redis, "till", give_back=_nothing, trim=_nothing)
        till = receiver.till = Till(shop, parts, worker, browser, sandbox_url)
        yield till
        for each in (parts, *till.broken):
            await each.stop()
        await board.stop()
        await provider.close()
    await runner.cleanup()


async def _nothing(*_: object) -> None:
    pass
