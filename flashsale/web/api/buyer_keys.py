"""The merchant's keys for buyer tokens: add, list, retire. A secret is answered once."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from aiohttp import web

from flashsale.access.buyer_keys import (
    BuyerKey,
    BuyerKeyRecord,
    generate_buyer_key,
    uploaded_buyer_key,
)
from flashsale.access.merchant_keys import (
    LastBuyerKeyError,
    TooManyBuyerKeysError,
    UnknownBuyerKeyError,
)
from flashsale.sales.checks import CLOCK_DIFFERENCE_MAX
from flashsale.web.auth import API_KEY
from flashsale.web.body import read_model
from flashsale.web.deps import DEPS
from flashsale.web.errors import invalid, refuse
from flashsale.web.render import json_response, rfc3339_of
from flashsale.web.schemas_security import BuyerKeyForm, RetirementForm

_KID = re.compile(r"kid_[a-z2-7]{12}", re.ASCII)


async def create_buyer_key(request: web.Request) -> web.Response:
    """Add a key that buyer tokens may be signed with; it serves at once."""
    form = await read_model(request, BuyerKeyForm)
    key = _key(request[API_KEY].merchant_id, form)
    try:
        record = await request.app[DEPS].buyer_keys.add(key, form.label or "")
    except TooManyBuyerKeysError:
        raise refuse("too_many_buyer_keys") from None
    secret = key.secret.decode() if key.algorithm == "HS256" else None
    return json_response({**_view(record), "secret": secret}, status=201)


def _key(merchant_id: str, form: BuyerKeyForm) -> BuyerKey:
    if form.algorithm == "HS256":
        if form.public_key is not None:
            raise invalid("/public_key", "Is for EdDSA; an HS256 secret is made here.")
        return generate_buyer_key(merchant_id)
    try:
        return uploaded_buyer_key(merchant_id, form.public_key or "")
    except ValueError:
        raise invalid("/public_key", "Must be an Ed25519 public key as PEM.") from None


async def list_buyer_keys(request: web.Request) -> web.Response:
    """My buyer keys, oldest first, without their secrets."""
    records = await request.app[DEPS].buyer_keys.list(request[API_KEY].merchant_id)
    return json_response({"items": [_view(record) for record in records], "next_cursor": None})


async def retire_buyer_key(request: web.Request) -> web.Response:
    """Retire a buyer key at an instant; until then it serves beside its successor."""
    form = await read_model(request, RetirementForm)
    if form.retires_at < request.app[DEPS].now() - CLOCK_DIFFERENCE_MAX:
        # A slip of the pen would end every session at once; `DELETE` is there for those in a hurry.
        raise invalid("/retires_at", "Has passed already.")
    return json_response(_view(await _retire(request, form.retires_at)))


async def delete_buyer_key(request: web.Request) -> web.Response:
    """Retire a buyer key now: its tokens are refused within seconds."""
    await _retire(request, None)
    return web.Response(status=204)


async def _retire(request: web.Request, at: datetime | None) -> BuyerKeyRecord:
    kid = request.match_info["kid"]
    if not _KID.fullmatch(kid):
        raise refuse("unknown_buyer_key")
    try:
        return await request.app[DEPS].buyer_keys.retire(request[API_KEY].merchant_id, kid, at)
    except UnknownBuyerKeyError:
        raise refuse("unknown_buyer_key") from None
    except LastBuyerKeyError:
        raise refuse("last_buyer_key") from None


def _view(record: BuyerKeyRecord) -> dict[str, Any]:
    return {
        "kid": record.kid,
        "algorithm": record.algorithm,
        "label": record.label,
        "state": record.state,
        "created_at": rfc3339_of(record.created_at),
        "retires_at": None if record.retires_at is None else rfc3339_of(record.retires_at),
        "retired_at": None if record.retired_at is None else rfc3339_of(record.retired_at),
        "public_key": None if record.public_key is None else record.public_key.decode(),
    }
