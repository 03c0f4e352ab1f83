"""The whole web on real stores and a real port: what the tests of its calls begin with."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import aiohttp
import asyncpg
from aiohttp import web

from flashsale.access import queries as access_queries
from flashsale.access.keyring import Keyring
from flashsale.access.merchant_keys import ApiKeys, BuyerKeys
from flashsale.access.tokens import issue_buyer_token
from flashsale.auditlog.log import AuditLog
from flashsale.domain.orders import OrderState
from flashsale.orders.board import Board
from flashsale.orders.service import OrderDesk
from flashsale.preorders.changes import ItemChanges
from flashsale.preorders.service import PreorderService
from flashsale.sales.queries import find_sale
from flashsale.sales.service import SaleService
from flashsale.settlement.faults import Fault, fault_of
from flashsale.settlement.ledger import Ledger
from flashsale.settlement.migrate import schema_is_current
from flashsale.settlement.worker import SettlementWorker
from flashsale.web.app import build_app
from flashsale.web.auth import Access
from flashsale.web.deps import PreorderDesks, WebDeps
from flashsale.web.hot import HotRoutes
from flashsale.web.metrics import Metrics
from flashsale.web.middleware import Faults
from flashsale.web.quick import QuickRoutes
from flashsale.web.server import serving
from flashsale.webhooks.service import WebhookService
from tests.sales.shop import Shop, body, open_shop
from tests.web.reply import Reply, hold_to_document
from tests.web.till import Till, callback, open_till, signed

SECRET = b"s" * 32
_numbers = itertools.count(1)


@dataclass(frozen=True)
class House:
    """A running server and two merchants; `other` is a stranger to the first one's sales."""

    shop: Shop
    session: aiohttp.ClientSession
    url: str
    merchant: access_queries.NewMerchant
    other: access_queries.NewMerchant
    worker: SettlementWorker
    deps: WebDeps
    app: web.Application
    till: Till

    async def call(
        self,
        method: str,
        path: str,
        value: Any = None,
        *,
        bearer: str | None = None,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> Reply:
        """One request; `value` goes as JSON, `data` as it is."""
        sent = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
        if value is not None:
            data = json.dumps(value).encode()
        if data is not None:
            sent["Content-Type"] = "application/json"
        sent |= headers or {}
        # aiohttp warns of large bytes, which it would copy at once.
        large = data is not None and len(data) >= 2**20
        async with self.session.request(
            method,
            self.url + path,
            data=io.BytesIO(data) if large else data,
            headers=sent,
            skip_auto_headers=["Content-Type"],
        ) as response:
            reply = Reply(response.status, response.headers, await response.text())
        hold_to_document(method, path, reply)
        return reply

    async def manage(self, method: str, path: str, value: Any = None, **more: Any) -> Reply:
        """A call of the merchant's."""
        key = more.pop("bearer", self.merchant.api_key)
        return await self.call(method, f"/v1/merchant{path}", value, bearer=key, **more)

    def token(self, buyer: str, *, merchant: access_queries.NewMerchant | None = None) -> str:
        key = (merchant or self.merchant).buyer_key
        return issue_buyer_token(key, buyer, now=time.time())

    @staticmethod
    def buyer() -> str:
        return f"buyer-{next(_numbers)}"

    async def draft(self, **changes: Any) -> Reply:
        reply = await self.manage("POST", "/sales", body(**changes))
        assert reply.status == 201, reply.text
        return reply

    async def sale(self, **changes: Any) -> str:
        """The id of a scheduled sale; open at once unless `changes` say otherwise."""
        sale = (await self.draft(**changes)).json["id"]
        scheduled = await self.manage("POST", f"/sales/{sale}/schedule")
        assert scheduled.status == 200, scheduled.text
        return sale

    async def order(
        self,
        sale: str,
        buyer: str | None = None,
        *,
        key: str | None = None,
        sku: str = "mi3-16",
        quantity: int = 1,
        **more: Any,
    ) -> Reply:
        """Place an order; a new buyer and a new key unless given."""
        headers = {"Idempotency-Key": f"key-{next(_numbers)}" if key is None else key}
        bearer = more.pop("bearer", None) or self.token(buyer or self.buyer())
        value = {"sku": sku, "quantity": quantity}
        path = f"/v1/sales/{sale}/orders"
        return await self.call("POST", path, value, bearer=bearer, headers=headers, **more)

    async def settle(self) -> None:
        """Bring everything that Redis decided into Postgres."""
        await self.worker.settle_available()

    async def buy(self, sale: str, buyer: str, **more: Any) -> str:
        """The id of a new order that is settled."""
        placed = await self.order(sale, buyer, **more)
        assert placed.status == 201, placed.text
        await self.settle()
        return str(placed.json["id"])

    async def pay(self, order: str, buyer: str) -> Reply:
        """Begin to pay what is due."""
        path = f"/v1/orders/{order}/payments"
        return await self.call("POST", path, bearer=self.token(buyer))

    async def tell(self, event: Mapping[str, Any], **how: Any) -> Reply:
        """A callback of the sandbox, signed."""
        headers, body = signed(event, **how)
        return await self.call("POST", "/v1/providers/sandbox/webhooks", data=body, headers=headers)

    async def dispatch(self) -> None:
        """Do what is still to be done outside Postgres, and settle what comes of it."""
        for _ in range(3):
            await self.settle()
            await self.till.outbox.tick()
        await self.settle()

    async def paid(self, sale: str, buyer: str, **more: Any) -> str:
        """The id of a new order that is paid: for a pre-order, its deposit."""
        order = await self.buy(sale, buyer, **more)
        begun = await self.pay(order, buyer)
        assert begun.status == 201, begun.text
        assert (await self.tell(callback("captured", begun.json))).status == 200
        await self.dispatch()
        return order

    async def stand(self, state: OrderState, **sale: Any) -> tuple[str, str]:
        """An order that Postgres has in a state, and its buyer; what led there is no matter."""
        buyer = self.buyer()
        order = await self.buy(await self.sale(**sale), buyer)
        await self.shop.pool.execute(
            "UPDATE orders SET state = $2, version = 99 WHERE id = $1", order, state.value
        )
        return order, buyer

    async def read(self, order: str, buyer: str) -> Any:
        """An order as its buyer reads it."""
        return (await self.call("GET", f"/v1/orders/{order}", bearer=self.token(buyer))).json

    @contextlib.asynccontextmanager
    async def postgres_away(self) -> AsyncIterator[None]:
        """No connection to the house's database, nor a new one."""
        name = await self.shop.pool.fetchval("SELECT current_database()")
        operator = await asyncpg.connect(self.shop.dsn.replace(name, "postgres"))
        try:
            await operator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            await operator.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name
            )
            yield
        finally:
            await operator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            await operator.close()


@contextlib.asynccontextmanager
async def open_house(
    dsn: str, redis_url: str, *, way: str = "quick", waiting_max: int = 1000
) -> AsyncIterator[House]:
    """A server whose hot routes go the `quick` way, the `hot` one, or through the router."""
    async with open_shop(dsn, redis_url) as shop, contextlib.AsyncExitStack() as stack:
        await shop.redis.flushdb()
        merchant, other = [
            await access_queries.create_merchant(shop.pool, name, now=datetime.now(UTC))
            for name in ("Mi", "Other")
        ]
        board = Board(
            partial(find_sale, shop.pool),
            shop.store,
            batch_max=min(64, waiting_max),
            waiting_max=waiting_max,
        )
        desk = OrderDesk(board, shop.store, Ledger(shop.pool), SECRET)
        till = await stack.enter_async_context(open_till(shop, desk))
        deps = web_deps(shop, desk, till)
        await deps.access.keyring.refresh()
        hot = HotRoutes(deps.access, deps.desk, deps.faults.problem_of)
        front = None if way == "routed" else hot.front
        quick = QuickRoutes(deps, hot) if way == "quick" else None
        worker = SettlementWorker(shop.pool, shop.redis, "tests", give_back=_nothing, trim=_nothing)
        async with (
            serving(app := build_app(deps), host="127.0.0.1", port=0, front=front, quick=quick) as (
                host,
                port,
            ),
            aiohttp.ClientSession() as session,
        ):
            url = f"http://{host}:{port}"
            yield House(shop, session, url, merchant, other, worker, deps, app, till)
        await board.stop()


async def _nothing(*_: object) -> None:
    pass


def web_deps(shop: Shop, desk: OrderDesk, till: Till) -> WebDeps:
    """What the composition root hands to the web, on the shop's stores."""
    ledger = Ledger(shop.pool)

    async def redis() -> str | None:
        return None if await shop.redis.ping() else "does not answer"

    async def postgres() -> str | None:
        async with shop.pool.acquire() as connection:
            return None if await schema_is_current(connection) else "its schema is not current"

    return WebDeps(
        access=Access(
            Keyring(partial(access_queries.load_buyer_keys, shop.pool)),
            partial(access_queries.find_api_key, shop.pool),
            lambda: datetime.now(UTC),
        ),
        api_keys=ApiKeys(shop.pool),
        buyer_keys=BuyerKeys(shop.pool),
        audit_log=AuditLog(shop.pool),
        desk=desk,
        money=till.desks,
        preorders=PreorderDesks(
            service=PreorderService(shop.pool, lambda: datetime.now(UTC)),
            changes=ItemChanges(shop.pool, shop.store),
        ),
        sales=SaleService(shop.pool, shop.store, lambda: datetime.now(UTC)),
        ledger=ledger,
        store=shop.store,
        probes={"redis": redis, "postgres": postgres},
        metrics=Metrics(),
        faults=Faults(lambda error: fault_of(error) is Fault.OUTAGE),
        webhooks=WebhookService(shop.pool, lambda: datetime.now(UTC), allow_private=True),
        now=lambda: datetime.now(UTC),
    )
