"""The application: routes, middleware and what handlers work with, put together once a process."""

from __future__ import annotations

from aiohttp import http_parser, http_writer, web

from flashsale.web import routes
from flashsale.web.api import documents
from flashsale.web.deps import DEPS, WebDeps
from flashsale.web.middleware import common_headers, problem_documents
from flashsale.web.openapi import document


class MissingExtensionError(RuntimeError):
    """aiohttp runs without its C extensions: several times slower, and with a laxer parser."""


def build_app(deps: WebDeps, *, hsts_seconds: int = 0) -> web.Application:
    """Make the application. MissingExtensionError where aiohttp lacks its C extensions.

    `hsts_seconds` is how long browsers are told to use nothing but HTTPS; 0 does not say so.
    """
    require_extensions()
    throttle = deps.access.throttle
    app = web.Application(middlewares=[problem_documents(deps.metrics, deps.faults, throttle)])
    app.on_response_prepare.append(common_headers(hsts_seconds))
    app[DEPS] = deps
    app[documents.DOCUMENT] = documents.rendered(document(routes.ROUTES))
    app[documents.FILES] = documents.static_files()
    routes.install(app, deps.access)
    return app


def require_extensions() -> None:
    """Raise MissingExtensionError where the parser or the writer is the pure Python one."""
    parser = http_parser.HttpRequestParser is http_parser.HttpRequestParserPy
    writer = http_writer._serialize_headers is http_writer._py_serialize_headers  # noqa: SLF001
    if parser or writer:
        raise MissingExtensionError(
            "aiohttp's C extensions are missing, the web server does not start: "
            "install aiohttp from a binary wheel and unset AIOHTTP_NO_EXTENSIONS."
        )
