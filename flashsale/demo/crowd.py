"""The crowd of a launch: who comes next, and what every answer must be. No I/O, no clock.

Buyers who want one unit each; readers of the public page; impatient ones who send an order again
and must be named the same order; some whose connection breaks before they read the answer; losers
who come when all is gone; and winners who come back after the sell-out and must be told yes again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import orjson

from flashsale.demo.http import OrderRequests
from flashsale.domain.identity import split_order_id

PROBLEMS_KEPT_MAX = 20


class VisitKind(StrEnum):
    """What a visitor came for; answers are counted and timed by it."""

    ORDER = "order"
    REFUSED = "refused"  # an order that was answered no: how fast losing is
    EARLY = "early"  # an order sent before the opening, and rightly refused
    READ = "read"
    REPEAT = "repeat"
    COMEBACK = "comeback"


@dataclass(frozen=True, slots=True)
class Mix:
    """How the crowd is made up.

    `reads_per_order` readers come for each order; every `repeat_every`-th winner sends the order
    again at once; every `drop_every`-th buyer loses the connection unread and tries again; every
    `comeback_every`-th winner returns after the sell-out; `losers` come after it.
    """

    reads_per_order: float = 0.1
    repeat_every: int = 50
    drop_every: int = 500
    comeback_every: int = 200
    losers: int = 0


@dataclass(slots=True)
class Visit:
    """One request and what is known of it; `order` is the id an earlier answer gave it."""

    kind: VisitKind
    request: bytes
    number: int = 0
    drops: bool = False
    order: str | None = None


@dataclass(slots=True)
class Crowd:
    """Sends visitors until everything is sold and everyone has had their answer.

    `token_of` signs a token for a buyer; `prefix` makes this crowd's buyers and keys its own.
    """

    orders: OrderRequests
    read: bytes
    token_of: Callable[[str], str]
    prefix: str
    sale: str
    units: int
    mix: Mix
    reserved: int = 0
    sold_out: bool = False
    problems: list[str] = field(default_factory=list)
    problem_count: int = 0
    _buyers: int = 0
    _losers: int = 0
    _readers_due: float = 0.0
    _again: deque[Visit] = field(default_factory=deque)
    _comebacks: deque[Visit] = field(default_factory=deque)

    def next(self) -> Visit | None:
        """The next visitor; None once the last one has come."""
        if self._again:
            return self._again.popleft()
        if self._readers_due >= 1:
            self._readers_due -= 1
            return Visit(VisitKind.READ, self.read)
        if self.sold_out:
            if self._losers >= self.mix.losers:
                return self._comebacks.popleft() if self._comebacks else None
            self._losers += 1
        self._buyers += 1
        self._readers_due += self.mix.reads_per_order
        number = self._buyers
        name = f"{self.prefix}{number}"
        return Visit(
            VisitKind.ORDER,
            self.orders.request(self.token_of(name), name),
            number,
            drops=number % self.mix.drop_every == 0,
        )

    def judge(self, visit: Visit, status: int, body: bytes) -> tuple[VisitKind, str, str | None]:
        """(what to count it as, its outcome, the id of an order answered for the first time).

        An answer that breaks a promise is noted in `problems`.
        """
        if visit.kind is VisitKind.READ:
            if status != 200:
                self.note(f"a reader of the sale was answered {status}")
            return visit.kind, str(status), None
        if status == 201:
            return self._won(visit, str(orjson.loads(body)["id"]))
        code = _code(body)
        if code == "not_open":
            return VisitKind.EARLY, code, None
        if code == "sold_out":
            self.sold_out = True
        if visit.order is not None and status not in {429, 503}:
            self.note(f"order {visit.order} was confirmed to its buyer, then answered {code}")
        elif code != "sold_out" and status not in {429, 503}:
            self.note(f"an order was answered {status} {code}")
        return VisitKind.REFUSED, code, None

    def _won(self, visit: Visit, order: str) -> tuple[VisitKind, str, str | None]:
        if visit.order is not None:
            if order != visit.order:
                self.note(f"one buyer and key were given two orders: {visit.order} and {order}")
            return visit.kind, "same", None
        parts = split_order_id(order)
        if parts is None or parts[0] != self.sale:
            self.note(f"an order was given the id {order!r}, which is not of this sale")
        self.reserved += 1
        if self.reserved > self.units:
            self.note(f"order {order} is number {self.reserved} of {self.units} units")
            self.sold_out = True
        if visit.number % self.mix.repeat_every == 0:
            self._again.append(Visit(VisitKind.REPEAT, visit.request, order=order))
        if visit.number % self.mix.comeback_every == 0:
            self._comebacks.append(Visit(VisitKind.COMEBACK, visit.request, order=order))
        return visit.kind, "reserved", order

    def note(self, problem: str) -> None:
        """Note a broken promise; the first ones are kept word for word."""
        self.problem_count += 1
        if len(self.problems) < PROBLEMS_KEPT_MAX:
            self.problems.append(problem)


def _code(body: bytes) -> str:
    """The code of a problem document, or what to call an answer that is none."""
    try:
        return str(orjson.loads(body)["code"])
    except (ValueError, KeyError, TypeError):
        return "no_problem_document"
