"""The two calls of every payment, opening it and the buyer's click, in front of the router.

They run the same code as the routed calls; what is not plain is left to those, which say why.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp.http_parser import RawRequestMessage

from flashsale.sandbox.answers import refusal
from flashsale.sandbox.values import SandboxError
from flashsale.web.connection import Reply
from flashsale.web.fast import Parts, wire

OPEN_PATH = "/v1/payments"
CHECKOUT_PREFIX = "/checkout/"
BODY_BYTES_MAX = 16 * 1024
_PAY = b"action=pay"
_PAGE = re.compile(CHECKOUT_PREFIX + r"[\w.:-]+", re.ASCII)

_LOG = structlog.get_logger(__name__)


class QuickCalls:
    """A `connection.Quick`.

    `may` looks at an Authorization header, `opened` takes a body, `acted` the token of a page and
    which of its buttons it was.
    """

    def __init__(
        self,
        may: Callable[[str], bool],
        opened: Callable[[bytes], Awaitable[Parts]],
        acted: Callable[[str, str], Awaitable[Parts]],
    ) -> None:
        self._may = may
        self._opened = opened
        self._acted = acted
        self._serving: set[asyncio.Task[None]] = set()

    def __call__(
        self,
        message: RawRequestMessage,
        body: bytes,
        reply: Reply,
        peer: Any,  # noqa: ARG002 - whoever it is
    ) -> bool:
        """Take one of the two calls."""
        headers, path = message.headers, message.path
        if message.method != "POST" or "Expect" in headers or len(body) > BODY_BYTES_MAX:
            return False
        if path == OPEN_PATH and self._may(headers.get("Authorization", "")):
            answer = self._opened(body)
        elif body == _PAY and _PAGE.fullmatch(path):
            answer = self._acted(path.removeprefix(CHECKOUT_PREFIX), "pay")
        else:
            return False
        serving = asyncio.create_task(self._serve(answer, reply))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        return True

    async def _serve(self, answer: Awaitable[Parts], reply: Reply) -> None:
        try:
            parts = await answer
        except SandboxError as error:
            parts = refusal(error)
        except Exception:  # noqa: BLE001 - the one place where every fault ends
            _LOG.error("sandbox_failed", exc_info=True)
            parts = 500, "", b""
        reply(wire(*parts))
