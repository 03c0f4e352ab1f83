"""The merchant's audit log, read page by page; each entry with what it takes to check it."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from flashsale.auditlog.chain import Entry
from flashsale.web.auth import API_KEY
from flashsale.web.deps import DEPS
from flashsale.web.inputs import bad_cursor, page_query, sale_in_path
from flashsale.web.render import json_response, page

_SEQ = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)


async def read_audit_log(request: web.Request) -> web.Response:
    """Who changed what in my name, newest first."""
    return await _page(request, None)


async def read_sale_audit_log(request: web.Request) -> web.Response:
    """Who changed what of a sale, newest first."""
    sale = sale_in_path(request)
    await request.app[DEPS].sales.get(request[API_KEY].merchant_id, sale)
    return await _page(request, sale)


async def _page(request: web.Request, sale_id: str | None) -> web.Response:
    query = page_query(request)
    if query.cursor is not None and not _SEQ.fullmatch(query.cursor):
        raise bad_cursor()
    before = None if query.cursor is None else int(query.cursor)
    log = request.app[DEPS].audit_log
    listed = await log.page(request[API_KEY].merchant_id, sale_id, before, query.limit)
    return json_response(page(listed, _entry))


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "seq": entry.seq,
        "at": entry.at,
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "sale_id": entry.sale_id,
        "detail": entry.detail,
        "hash": entry.hash,
        "entry": entry.entry,
    }
