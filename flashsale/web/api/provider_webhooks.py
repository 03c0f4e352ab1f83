"""Callbacks of payment providers: verified over their very bytes, kept, answered. Never logged."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web
from multidict import MultiMapping

from flashsale.payments.provider import CallbackError, ProviderEvent, SignatureError, StampError
from flashsale.payments.values import TakenAs
from flashsale.web.body import DEPTH_MAX, is_sane, read_bytes
from flashsale.web.deps import DEPS, WebDeps
from flashsale.web.errors import refuse
from flashsale.web.render import json_response

CALLBACK_MAX_BYTES = 65_536
INSTANT_MAX_MS = 253_402_300_799_999  # the end of the year 9999


async def take_callback(request: web.Request) -> web.Response:
    """Take a payment provider's signed callback; the same one again changes nothing."""
    deps, name = request.app[DEPS], request.match_info["provider"]
    if name not in deps.money.providers:
        raise refuse("unknown_provider")
    body = await read_bytes(request, CALLBACK_MAX_BYTES)
    status, answer = await take(deps, name, request.headers, body)
    return json_response(answer, status=status)


async def take(
    deps: WebDeps, name: str, headers: MultiMapping[str], body: bytes
) -> tuple[int, Mapping[str, str]]:
    """Status and value of the answer to a provider's callback; ProblemError."""
    taken = await deps.money.intake.take(name, _verified(deps, name, headers, body))
    # What belongs to nothing we know is kept, and so accepted, without a promise.
    status = 202 if taken.outcome is TakenAs.UNMATCHED else 200
    return status, {"outcome": taken.outcome.value}


def _verified(deps: WebDeps, name: str, headers: MultiMapping[str], body: bytes) -> ProviderEvent:
    # Two headers of one name could name two signatures: no provider sends them.
    whole = {each: ",".join(headers.getall(each)) for each in headers}
    try:
        event = deps.money.providers[name].verify(whole, body, deps.now().timestamp())
    except SignatureError:
        raise refuse("signature_invalid") from None
    except StampError:
        raise refuse("stamp_refused") from None
    except CallbackError:
        raise refuse("callback_malformed") from None
    # What Postgres cannot hold would be refused by it for ever, and the provider would not stop.
    if not (is_sane(event.payload, DEPTH_MAX) and event.occurred_at_ms <= INSTANT_MAX_MS):
        raise refuse("callback_malformed")
    return event
