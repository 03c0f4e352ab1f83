"""Rate limits at the web's door: whom to count, and what the refused are told. Counts nothing.

A refusal carries RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers-10) and
Retry-After. Other answers carry none of them: what is left to a buyer changes with every request,
and heads that differ cannot be prepared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from multidict import MultiMapping

from flashsale.access.tokens import Buyer
from flashsale.limits.addresses import Addresses
from flashsale.limits.limiter import Limiter, Note, Subject
from flashsale.web.errors import Problem, ProblemError

_COUNTED = "/v1/"
#: Callbacks are signed and few; one that is refused would be money that is seen later.
_NOT_COUNTED = "/v1/providers/"


@dataclass(frozen=True, slots=True)
class Throttle:
    """The limits of a process; None is one that is switched off.

    The order of checks: address, before the token is read; buyer, before the body; sale, before
    the order. Repetitions with an idempotency key count like any other request.
    """

    buyer: Limiter | None = None
    address: Limiter | None = None
    sale: Limiter | None = None
    addresses: Addresses = field(default_factory=Addresses)

    async def by_address(self, request: web.BaseRequest) -> None:
        """Count a call for its address. ProblemError where there is no room."""
        path = request.path
        if self.address is None or not path.startswith(_COUNTED) or path.startswith(_NOT_COUNTED):
            return
        subject = self.place(request.remote, request.headers)
        if subject is not None:
            await _admit(self.address, subject)

    async def by_buyer(self, buyer: Buyer) -> None:
        """Count a call for a buyer. ProblemError where there is no room."""
        if self.buyer is not None:
            await _admit(self.buyer, buyer)

    async def by_sale(self, sale: str) -> None:
        """Count an order for a sale that is known. ProblemError where there is no room."""
        if self.sale is not None:
            await _admit(self.sale, sale)

    def place(self, peer: Any, headers: MultiMapping[str]) -> str | None:
        """The subject of the address limit; None where nobody is to be counted.

        `peer` is an address, or a socket's name of which it is the first part.
        """
        if isinstance(peer, tuple):
            peer = peer[0]
        if not peer:
            return None  # a Unix socket, or a connection that is gone
        place = self.addresses.place(peer)
        if not place.trusted:
            return place.subject
        return self.addresses.subject(peer, headers.getall("X-Forwarded-For", []))


#: No limits: what whoever builds the web by hand begins with.
UNLIMITED = Throttle()


class Pass:
    """The way of one request past limits that its process may decide alone, at one instant.

    Looked at first and counted last: who is turned off to another way is counted there. Nothing
    may be awaited between `admits` and `spend`.
    """

    __slots__ = ("_notes", "_now", "_stopped_by")

    def __init__(self, now: float) -> None:
        self._now = now
        self._notes: list[tuple[Limiter, Subject, Note]] = []
        self._stopped_by: tuple[Limiter, Subject] | None = None

    def admits(self, limiter: Limiter, subject: Subject) -> bool:
        """Whether the process may admit the subject by itself."""
        note = limiter.room(subject, self._now)
        if note is None:
            self._stopped_by = limiter, subject
            return False
        self._notes.append((limiter, subject, note))
        return True

    def spend(self) -> None:
        """Count what was admitted."""
        for limiter, subject, note in self._notes:
            limiter.spend(subject, note)

    def refusal(self) -> Problem | None:
        """What to tell whom the common pot has nothing for; None where it has to be asked."""
        if self._stopped_by is None:
            return None
        limiter, subject = self._stopped_by
        wait = limiter.shut(subject, self._now)
        return refused(limiter, wait) if wait > 0 else None


def refused(limiter: Limiter, wait_seconds: float) -> Problem:
    """The refusal of a limit that has room again after `wait_seconds`."""
    wait = max(1, math.ceil(wait_seconds))
    return Problem(
        "rate_limited",
        headers={
            "RateLimit-Policy": f'"{limiter.name}";q={limiter.quota};w={limiter.window_seconds}',
            "RateLimit": f'"{limiter.name}";r=0;t={wait}',
        },
        retry_after_seconds=wait,
    )


async def _admit(limiter: Limiter, subject: Subject) -> None:
    wait = await limiter.admit(subject)
    if wait > 0:
        raise ProblemError(refused(limiter, wait))
