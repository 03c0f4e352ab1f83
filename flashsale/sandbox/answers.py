"""What the sandbox answers, as the server writes it. Pure."""

from __future__ import annotations

import orjson

from flashsale.sandbox.page import HEADERS
from flashsale.sandbox.values import SandboxError
from flashsale.web.fast import Parts, header_lines

_JSON_FIELDS = header_lines({"Content-Type": "application/json"})
_PAGE_FIELDS = header_lines({"Content-Type": "text/html; charset=utf-8", **HEADERS})


def as_json(value: object, status: int = 200) -> Parts:
    """A value."""
    return status, _JSON_FIELDS, orjson.dumps(value)


def as_page(text: str, status: int = 200) -> Parts:
    """A page."""
    return status, _PAGE_FIELDS, text.encode()


def see_other(path: str) -> Parts:
    """The way to a page; `path` names one that there is, so it holds nothing else."""
    return 303, f"{_PAGE_FIELDS}Location: {path}\r\n", b""


def refusal(error: SandboxError) -> Parts:
    """What was refused, and why."""
    return as_json({"code": error.code, "detail": str(error)}, error.status)
