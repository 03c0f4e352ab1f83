"""A merchant's outbound webhooks: make, look, rotate, try, replay. A secret is answered once."""

from __future__ import annotations

import re
from typing import Any, get_args

from aiohttp import web

from flashsale.web.auth import API_KEY
from flashsale.web.body import read_model
from flashsale.web.deps import DEPS
from flashsale.web.errors import invalid, refuse
from flashsale.web.inputs import bad_cursor, page_query
from flashsale.web.render import json_response, rfc3339_of
from flashsale.web.schemas_webhooks import ReplayForm, State, WebhookForm
from flashsale.webhooks.service import WebhookService
from flashsale.webhooks.signing import event_number, message_id
from flashsale.webhooks.values import Delivery, DeliveryState, Endpoint

_WEBHOOK_ID = re.compile(r"whk_[a-z2-7]{12}", re.ASCII)


async def create_webhook(request: web.Request) -> web.Response:
    """Have events sent to an address; the secret that signs them is shown this once."""
    form = await read_model(request, WebhookForm)
    endpoint = await _service(request).create(_merchant(request), form.url, form.types)
    headers = {"Location": f"/v1/merchant/webhooks/{endpoint.id}"}
    return json_response(_with_secret(endpoint), status=201, headers=headers)


async def list_webhooks(request: web.Request) -> web.Response:
    """My webhooks, oldest first."""
    query = page_query(request)
    if query.cursor is not None and not _WEBHOOK_ID.fullmatch(query.cursor):
        raise bad_cursor()
    found = await _service(request).page(_merchant(request), query.cursor, query.limit + 1)
    shown = found[: query.limit]
    following = shown[-1].id if len(found) > query.limit else None
    items = [_view(endpoint) for endpoint in shown]
    return json_response({"items": items, "next_cursor": following})


async def read_webhook(request: web.Request) -> web.Response:
    """One of my webhooks."""
    endpoint = await _service(request).read(_merchant(request), _webhook(request))
    return json_response(_view(endpoint))


async def delete_webhook(request: web.Request) -> web.Response:
    """Send nothing there from now on, not even what is pending."""
    await _service(request).delete(_merchant(request), _webhook(request))
    return web.Response(status=204)


async def enable_webhook(request: web.Request) -> web.Response:
    """Send to a disabled webhook again, beginning with what waited."""
    endpoint = await _service(request).enable(_merchant(request), _webhook(request))
    return json_response(_view(endpoint))


async def rotate_webhook_secret(request: web.Request) -> web.Response:
    """Make a new secret, shown this once; the one before it signs beside it for a day."""
    endpoint = await _service(request).rotate(_merchant(request), _webhook(request))
    return json_response(_with_secret(endpoint))


async def test_webhook(request: web.Request) -> web.Response:
    """Send an event of type `webhook.test`; its delivery tells what came of it."""
    delivery = await _service(request).test(_merchant(request), _webhook(request))
    return json_response(_delivery(delivery), status=202)


async def list_deliveries(request: web.Request) -> web.Response:
    """What was sent or is to be sent to a webhook, newest first; of one `state`, or all."""
    query, state = page_query(request, "state"), request.query.get("state")
    if state is not None and state not in get_args(State):
        raise invalid("/state", "Must be pending, delivered or dead.")
    before = None if query.cursor is None else event_number(query.cursor)
    if query.cursor is not None and before is None:
        raise bad_cursor()
    found = await _service(request).deliveries(
        _merchant(request),
        _webhook(request),
        None if state is None else DeliveryState(state),
        before,
        query.limit + 1,
    )
    shown = found[: query.limit]
    following = message_id(shown[-1].event_id) if len(found) > query.limit else None
    items = [_delivery(delivery) for delivery in shown]
    return json_response({"items": items, "next_cursor": following})


async def replay_delivery(request: web.Request) -> web.Response:
    """Send a delivery that was made or given up once more."""
    delivery = await _service(request).replay(
        _merchant(request), _webhook(request), request.match_info["delivery"]
    )
    return json_response(_delivery(delivery), status=202)


async def replay_dead_deliveries(request: web.Request) -> web.Response:
    """Send everything once more that was given up, of events since an instant."""
    form = await read_model(request, ReplayForm)
    count = await _service(request).replay_dead(_merchant(request), _webhook(request), form.since)
    return json_response({"replayed": count}, status=202)


def _service(request: web.Request) -> WebhookService:
    return request.app[DEPS].webhooks


def _merchant(request: web.Request) -> str:
    return request[API_KEY].merchant_id


def _webhook(request: web.Request) -> str:
    """The webhook named in the path; what cannot be an id is unknown without asking anyone."""
    named = request.match_info["webhook"]
    if not _WEBHOOK_ID.fullmatch(named):
        raise refuse("unknown_webhook")
    return named


def _view(endpoint: Endpoint) -> dict[str, Any]:
    until = endpoint.previous_until
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "types": list(endpoint.types),
        "state": endpoint.state,
        "note": endpoint.note,
        "rotated_until": None if until is None else rfc3339_of(until),
        "created_at": rfc3339_of(endpoint.created_at),
    }


def _with_secret(endpoint: Endpoint) -> dict[str, Any]:
    return {**_view(endpoint), "secret": endpoint.secrets[0]}


def _delivery(delivery: Delivery) -> dict[str, Any]:
    pending = delivery.state is DeliveryState.PENDING
    return {
        "id": message_id(delivery.event_id),
        "type": delivery.type,
        "sale_id": delivery.sale_id,
        "order_id": delivery.order_id,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "created_at": rfc3339_of(delivery.created_at),
        "next_attempt_at": rfc3339_of(delivery.next_at) if pending else None,
        "done_at": None if delivery.done_at is None else rfc3339_of(delivery.done_at),
        "last_answer": delivery.answer,
        "log": delivery.log,
    }
