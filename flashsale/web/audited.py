"""Merchants' writes in their own name: what the audit log is told of a call. Decides nothing.

A call that changes something works as its API key (`auditlog.acting`): the change and the entry
that tells of it are one transaction of Postgres, whichever capability makes it, and no handler has
to remember the log. A call that changes nothing, because it was refused or is a repetition, leaves
no entry; what a key lacks the scope for does.
"""

from __future__ import annotations

from aiohttp import web

from flashsale.auditlog.acting import Act, acting
from flashsale.domain.identity import split_order_id
from flashsale.web.auth import API_KEY, Access
from flashsale.web.deps import DEPS
from flashsale.web.errors import ProblemError
from flashsale.web.openapi import Auth, Handler, Route

SUBJECT_MAX_CHARACTERS = 100
_MERCHANTS = frozenset({Auth.READ, Auth.MANAGE, Auth.ADMIN})


def admitting(route: Route, access: Access) -> Handler:
    """The route's handler behind the check of who calls; a merchant's writes are audited."""
    if route.method != "GET" and route.auth in _MERCHANTS:
        return _audited(route, access)

    async def admitted(request: web.Request) -> web.StreamResponse:
        await access.admit(request, route.auth)
        return await route.handler(request)

    return admitted


def _audited(route: Route, access: Access) -> Handler:
    async def audited(request: web.Request) -> web.StreamResponse:
        try:
            await access.admit(request, route.auth)
        except ProblemError as error:
            if error.problem.code == "scope_missing":
                log = request.app[DEPS].audit_log
                await log.refused(_act(request, route.handler.__name__), route.auth.value)
            raise
        with acting(_act(request, route.handler.__name__)):
            return await route.handler(request)

    return audited


def _act(request: web.Request, action: str) -> Act:
    """Who does what to what: the call's operationId, and what its path names last."""
    named = request.match_info
    order = split_order_id(named.get("order", ""))
    sale = named.get("sale") or (None if order is None else order[0])
    subject = next(reversed(named.values()), None)
    key = request[API_KEY]
    # A path is input like any other: what is no name of ours is cut, and escaped as JSON.
    return Act(key.merchant_id, key.id, action, _plain(subject), _plain(sale))


def _plain(name: str | None) -> str | None:
    if name is None or not (name.isascii() and name.isprintable()):
        return None
    return name[:SUBJECT_MAX_CHARACTERS]
