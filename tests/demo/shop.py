"""A small seller over real HTTP, honest unless told otherwise, for the load driver to meet."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import jwt
from aiohttp import web

from flashsale.access.buyer_keys import BuyerKey, generate_buyer_key
from flashsale.domain.identity import order_id

SALE = "abcdefghijkl"
KEY: BuyerKey = generate_buyer_key("m_demo")


@dataclass
class Shop:
    """Sells `units`; each fault is off by default."""

    units: int
    sells_beyond_supply: bool = False
    forgets_keys: bool = False
    forgets_winners: bool = False
    busy_every: int = 0
    closes_every: int = 0
    closed_for: int = 0
    orders: dict[str, str] = field(default_factory=dict)
    reads: int = 0
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _requests: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    async def read(self, _request: web.Request) -> web.Response:
        self.reads += 1
        return web.json_response({"id": SALE})

    async def order(self, request: web.Request) -> web.Response:
        token = request.headers["Authorization"].removeprefix("Bearer ")
        claims = jwt.decode(token, KEY.secret, ["HS256"], issuer=KEY.merchant_id)
        assert json.loads(await request.read()) == {"sku": "phone", "quantity": 1}
        number = next(self._requests)
        if self.busy_every and number % self.busy_every == 0:
            return self._refuse(503, "busy")
        key = f"{claims['sub']} {request.headers['Idempotency-Key']}"
        response = self._decide(key)
        if self.closes_every and number % self.closes_every == 0:
            response.force_close()
        return response

    def _decide(self, key: str) -> web.Response:
        if self.closed_for > 0:
            self.closed_for -= 1
            return self._refuse(409, "not_open")
        known = self.orders.get(key)
        sold_out = len(self.orders) >= self.units
        if known is not None and not (sold_out and self.forgets_winners):
            return self._answer(self._new_id() if self.forgets_keys else known)
        if sold_out and not self.sells_beyond_supply:
            return self._refuse(409, "sold_out")
        self.orders[key] = self._new_id()
        return self._answer(self.orders[key])

    def _new_id(self) -> str:
        return order_id(b"a secret of the shop", SALE, "somebody", str(next(self._numbers)))

    @staticmethod
    def _answer(order: str) -> web.Response:
        return web.json_response({"id": order, "state": "reserved"}, status=201)

    @staticmethod
    def _refuse(status: int, code: str) -> web.Response:
        return web.json_response(
            {"code": code}, status=status, content_type="application/problem+json"
        )

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        """Serve on a free loopback port; yields the base URL."""
        app = web.Application()
        app.router.add_get(f"/v1/sales/{SALE}", self.read)
        app.router.add_post(f"/v1/sales/{SALE}/orders", self.order)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()
