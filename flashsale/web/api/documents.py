"""The API's own description: the document, its viewer, the list of problems. Asks no store."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

import orjson
from aiohttp import web

from flashsale.web.errors import KINDS, refuse

STATIC = Path(__file__).parent.parent / "static"

DOCUMENT = web.AppKey("DOCUMENT", bytes)
FILES = web.AppKey("FILES", Mapping[str, Path])

_BRIEFLY = {"Cache-Control": "public, max-age=60"}
# The viewer draws with inline styles and data: images; nothing comes from elsewhere.
_VIEWER_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Problems · Flashsale API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/static/docs.css">
<h1>Problems</h1>
<p>Every error is an <code>application/problem+json</code> document (RFC 9457). Its
<code>code</code> is stable; its sentences are for people and may change.</p>
<dl>{entries}</dl></html>
"""


def static_files() -> dict[str, Path]:
    """The files that may be served, by the path behind /static/; nothing else can be asked for."""
    return {
        str(path.relative_to(STATIC)): path
        for path in sorted(STATIC.rglob("*"))
        if path.is_file() and path.suffix in {".css", ".js", ".html", ".svg"}
    }


async def front_door(_request: web.Request) -> web.Response:
    """Whoever opens the address, or looks for a console, is shown what can be called."""
    return web.Response(status=307, headers={"Location": "/docs", **_BRIEFLY})


async def openapi_document(request: web.Request) -> web.Response:
    """The OpenAPI 3.1 document."""
    return web.Response(
        body=request.app[DOCUMENT], content_type="application/json", headers=_BRIEFLY
    )


async def docs(_request: web.Request) -> web.FileResponse:
    """The document in a viewer."""
    return web.FileResponse(
        STATIC / "docs.html", headers={**_BRIEFLY, "Content-Security-Policy": _VIEWER_POLICY}
    )


async def problems(_request: web.Request) -> web.Response:
    """What the `type` of a problem document points at."""
    entries = "".join(
        f'<dt id="{code}"><code>{code}</code> {kind.status} {escape(kind.title)}</dt>'
        f"<dd>{escape(kind.detail)}</dd>"
        for code, kind in sorted(KINDS.items())
    )
    return web.Response(
        text=_PAGE.format(entries=entries),
        content_type="text/html",
        headers={**_BRIEFLY, "Content-Security-Policy": _VIEWER_POLICY},
    )


async def static_file(request: web.Request) -> web.FileResponse:
    """A file of ours, or a vendored one."""
    path = request.app[FILES].get(request.match_info["path"])
    if path is None:
        raise refuse("not_found")
    return web.FileResponse(path, headers={"Cache-Control": "public, max-age=86400"})


def rendered(document: Mapping[str, object]) -> bytes:
    """The document as it is served."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
