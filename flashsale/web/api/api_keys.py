"""The merchant's API keys: make, list, revoke. A key's text is answered once and kept nowhere."""

from __future__ import annotations

import re

from aiohttp import web

from flashsale.access.api_keys import Scope, generate
from flashsale.web import render_merchant as render
from flashsale.web.auth import API_KEY
from flashsale.web.body import read_model
from flashsale.web.deps import DEPS
from flashsale.web.errors import invalid, refuse
from flashsale.web.inputs import bad_cursor, page_query
from flashsale.web.render import json_response
from flashsale.web.schemas_merchant import ApiKeyForm

_KEY_ID = re.compile(r"key_[a-z2-7]{12}", re.ASCII)


async def create_api_key(request: web.Request) -> web.Response:
    """Make an API key; its text is shown this once."""
    deps, now = request.app[DEPS], request.app[DEPS].now()
    form = await read_model(request, ApiKeyForm)
    if form.expires_at is not None and form.expires_at <= now:
        raise invalid("/expires_at", "Has passed already.")
    key, record = generate(
        request[API_KEY].merchant_id,
        Scope(form.scope),
        now=now,
        label=form.label,
        expires_at=form.expires_at,
    )
    await deps.api_keys.keep(record)
    return json_response({**render.api_key(record), "key": key}, status=201)


async def list_api_keys(request: web.Request) -> web.Response:
    """My API keys, oldest first."""
    deps, query = request.app[DEPS], page_query(request)
    if query.cursor is not None and not _KEY_ID.fullmatch(query.cursor):
        raise bad_cursor()
    records = await deps.api_keys.page(request[API_KEY].merchant_id, query.cursor, query.limit + 1)
    shown = records[: query.limit]
    following = shown[-1].id if len(records) > query.limit else None
    items = [render.api_key(record) for record in shown]
    return json_response({"items": items, "next_cursor": following})


async def revoke_api_key(request: web.Request) -> web.Response:
    """Revoke an API key for good; never the one that asks, lest no key be left."""
    key_id = request.match_info["key"]
    merchant_id = request[API_KEY].merchant_id
    if key_id == request[API_KEY].id:
        raise refuse("own_api_key")
    if not _KEY_ID.fullmatch(key_id) or not await request.app[DEPS].api_keys.revoke(
        merchant_id, key_id
    ):
        raise refuse("unknown_api_key")
    return web.Response(status=204)
