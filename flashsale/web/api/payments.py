"""The buyer's payments: begin one, look at them. What is charged is decided in `payments`."""

from __future__ import annotations

import asyncio

from aiohttp import web

from flashsale.access.tokens import Buyer
from flashsale.orders.values import Refusal
from flashsale.payments.service import PaymentDesk
from flashsale.payments.values import Begun
from flashsale.web import render_money
from flashsale.web.api.orders import absent, refused
from flashsale.web.auth import BUYER
from flashsale.web.deps import DEPS, WebDeps
from flashsale.web.inputs import order_in_path
from flashsale.web.render import json_response

#: Rests while an order placed a moment ago is settled; a second in all, then the buyer asks again.
RESTS_SECONDS = (0.02, 0.04, 0.08, 0.16, 0.3, 0.4)


async def begin_payment(request: web.Request) -> web.Response:
    """Begin to pay what is due of an order; a retry meets the same payment until it is over."""
    begun = await begin(request.app[DEPS], request[BUYER], order_in_path(request))
    return json_response(
        render_money.payment(begun.payment),
        status=201,
        headers={"Idempotency-Replayed": "true"} if begun.replayed else {},
    )


async def begin(deps: WebDeps, buyer: Buyer, order_id: str) -> Begun:
    """The payment that a buyer begins of an order, when its turn has come; ProblemError."""
    await deps.money.pace.turn()
    answer = await _begin(deps.money.desk, buyer, order_id)
    if isinstance(answer, Refusal):
        raise await refused(deps, buyer, order_id, answer)
    return answer


async def _begin(desk: PaymentDesk, buyer: Buyer, order_id: str) -> Begun | Refusal:
    for rest_seconds in RESTS_SECONDS:
        answer = await desk.begin(buyer, order_id)
        if not isinstance(answer, Refusal) or answer.code != "order_not_confirmed":
            return answer
        await asyncio.sleep(rest_seconds)
    return await desk.begin(buyer, order_id)


async def list_payments(request: web.Request) -> web.Response:
    """All payments of one of my orders, oldest first."""
    deps, order_id = request.app[DEPS], order_in_path(request)
    payments = await deps.money.desk.list(request[BUYER], order_id)
    if payments is None:
        raise await absent(deps, request[BUYER], order_id)
    items = [render_money.payment(each) for each in payments]
    return json_response({"items": items, "next_cursor": None})
