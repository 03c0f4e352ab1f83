"""The two calls of every payment without aiohttp's task, request and response: begin, callback.

They run the same functions as the routed calls. What is not plain, or refused at the door, is
declined here and goes aiohttp's way, which says why.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable
from typing import Any

import orjson
from aiohttp.http_parser import RawRequestMessage
from multidict import MultiMapping

from flashsale.access.tokens import Buyer
from flashsale.domain.identity import split_order_id
from flashsale.web import render_money
from flashsale.web.api.payments import begin
from flashsale.web.api.provider_webhooks import CALLBACK_MAX_BYTES, take
from flashsale.web.connection import Reply
from flashsale.web.deps import WebDeps
from flashsale.web.fast import Parts, header_lines, wire
from flashsale.web.headers import COMMON_HEADERS
from flashsale.web.hot import HotRoutes
from flashsale.web.limiting import Pass

BEGIN_ROUTE = "/v1/orders/{order}/payments"
CALLBACK_ROUTE = "/v1/providers/{provider}/webhooks"
#: Headers that ask for more than the quick way does.
_UNUSUAL = ("Content-Encoding", "Expect")
_BEGIN = re.compile(r"/v1/orders/([\w-]+)/payments", re.ASCII)
_FIELDS = header_lines({**COMMON_HEADERS, "Content-Type": "application/json"})
_REPLAYED_FIELDS = _FIELDS + "Idempotency-Replayed: true\r\n"


def is_usual(headers: MultiMapping[str]) -> bool:
    """Whether a request may go the quick way."""
    return not any(name in headers for name in _UNUSUAL)


class QuickMoney:
    """A `connection.Quick`; counts where `hot` does."""

    def __init__(self, deps: WebDeps, hot: HotRoutes) -> None:
        self._deps = deps
        self._hot = hot
        self._callbacks = {
            CALLBACK_ROUTE.format(provider=name): name for name in deps.money.providers
        }
        self._serving: set[asyncio.Task[None]] = set()

    def __call__(self, message: RawRequestMessage, body: bytes, reply: Reply, peer: Any) -> bool:
        """Take the beginning of a payment, or a provider's callback."""
        if message.method != "POST" or not is_usual(message.headers):
            return False
        provider = self._callbacks.get(message.path)
        if provider is not None and len(body) <= CALLBACK_MAX_BYTES:
            self._serve(CALLBACK_ROUTE, self._take(provider, message.headers, body), reply)
            return True
        named = _BEGIN.fullmatch(message.path)
        if named is None or split_order_id(named[1]) is None:
            return False
        buyer = self._admitted(message.headers, peer)
        if buyer is None:
            return False
        self._serve(BEGIN_ROUTE, self._begin(buyer, named[1]), reply)
        return True

    def _admitted(self, headers: MultiMapping[str], peer: Any) -> Buyer | None:
        """Who calls, counted; None where there is anything to look up or to object to."""
        way, throttle = Pass(time.monotonic()), self._deps.access.throttle
        if throttle.address is not None:
            address = throttle.place(peer, headers)
            if address is not None and not way.admits(throttle.address, address):
                return None
        buyer = self._deps.access.known_buyer(headers)
        if buyer is None:
            return None
        if throttle.buyer is not None and not way.admits(throttle.buyer, buyer):
            return None
        way.spend()
        return buyer

    def _serve(self, route: str, answer: Awaitable[Parts], reply: Reply) -> None:
        serving = asyncio.create_task(self._answer(route, answer, reply))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    async def _answer(self, route: str, answer: Awaitable[Parts], reply: Reply) -> None:
        started = time.perf_counter()
        try:
            parts = await answer
        except Exception as error:  # noqa: BLE001 - the one place where every fault ends
            parts = self._hot.problem(route, error)
        else:
            self._hot.answered[route, parts[0]] += 1
        reply(wire(*parts))
        self._deps.metrics.timed(route, time.perf_counter() - started)

    async def _begin(self, buyer: Buyer, order_id: str) -> Parts:
        begun = await begin(self._deps, buyer, order_id)
        fields = _REPLAYED_FIELDS if begun.replayed else _FIELDS
        return 201, fields, orjson.dumps(render_money.payment(begun.payment))

    async def _take(self, provider: str, headers: MultiMapping[str], body: bytes) -> Parts:
        status, answer = await take(self._deps, provider, headers, body)
        return status, _FIELDS, orjson.dumps(answer)
