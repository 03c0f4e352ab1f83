"""The lean load driver: a crowd over keep-alive connections, in a process of its own.

Run as `python -m flashsale.demo.driver`: the plan comes as JSON on standard input, progress goes as
one JSON line for each window to standard output, the result as the last line. Budget: 40
microseconds of CPU for each request, so that the load does not outweigh the engine beside it.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, TextIO

import uvloop

from flashsale.access.buyer_keys import BuyerKey
from flashsale.access.tokens import fast_issuer
from flashsale.demo.connection import Connection
from flashsale.demo.crowd import Crowd, Visit
from flashsale.demo.http import Address, OrderRequests, read_request
from flashsale.demo.plan import Plan
from flashsale.demo.tally import Tally

WINDOW_SECONDS = 0.25
PACE_TICK_SECONDS = 0.002
TOKEN_TTL_SECONDS = 24 * 3600


class Driver:
    """One run of a plan.

    The id of every order answered goes to `answers`, one a line; `report` is called with the
    progress of each window.
    """

    def __init__(
        self, plan: Plan, answers: TextIO, report: Callable[[Mapping[str, Any]], None]
    ) -> None:
        self.plan = plan
        self._answers = answers
        self._report = report
        self.address = Address.of(plan.base_url)
        key = BuyerKey(plan.kid, plan.merchant_id, "HS256", plan.secret.encode())
        self.crowd = Crowd(
            OrderRequests(self.address, plan.sale, plan.sku),
            read_request(self.address, f"/v1/sales/{plan.sale}"),
            fast_issuer(key, now=time.time(), ttl_seconds=TOKEN_TTL_SECONDS),
            plan.prefix,
            plan.sale,
            plan.units,
            plan.mix,
        )
        self.tally = Tally()
        self.faults: dict[str, int] = {"connection_lost": 0, "dropped": 0, "repeated": 0}
        self._backlog: deque[tuple[Visit, float]] = deque()
        self._idle: list[Connection] = []
        self._working = 0
        self._exhausted = False
        self._offered = 0
        self._last_answer_at = 0.0
        self._reserved_at: list[float] = []  # of the first and the last yes

    async def run(self) -> dict[str, Any]:
        """Send everyone, and return what they were answered.

        Raises ConnectionError where the server is silent for too long.
        """
        plan, loop = self.plan, asyncio.get_running_loop()
        connections = [Connection(self) for _ in range(plan.connections)]
        pacing: asyncio.Task[None] | None = None
        try:
            await asyncio.gather(*(connection.open() for connection in connections))
            await asyncio.sleep(plan.starts_at_ms / 1000 - plan.early_seconds - time.time())
            self._last_answer_at = perf_counter()
            self._working = len(connections)
            if plan.rate:
                pacing = loop.create_task(self._pace(plan.rate))
            for connection in connections:
                self.advance(connection)
            await self._watch()
        finally:
            if pacing is not None:
                pacing.cancel()
            for connection in connections:
                connection.close()
        return self._result()

    async def _watch(self) -> None:
        """Report each window until every visitor has had an answer."""
        while self._working or self._backlog or (self.plan.rate and not self._exhausted):
            await asyncio.sleep(WINDOW_SECONDS)
            silence = perf_counter() - self._last_answer_at
            if silence > self.plan.silence_seconds_max:
                raise ConnectionError(f"no answer for {silence:.0f} s")
            self._roll()
        self._roll()

    def _roll(self) -> None:
        self._answers.flush()
        window = self.tally.roll()
        at = time.time() - self.plan.starts_at_ms / 1000
        self._report(
            {"at": at, "reserved": self.crowd.reserved, "offered": self._offered, **window}
        )

    async def _pace(self, rate: float) -> None:
        """Offer visitors at the planned rate, whether or not the server keeps up."""
        started = perf_counter()
        while not self._exhausted:
            while self._offered < rate * (perf_counter() - started):
                visit = self.crowd.next()
                if visit is None:
                    self._exhausted = True
                    break
                # Timed from when it was due: waiting for a free connection is waiting, too.
                self._backlog.append((visit, started + self._offered / rate))
                self._offered += 1
                if self._idle:
                    self._working += 1
                    self.advance(self._idle.pop())
            await asyncio.sleep(PACE_TICK_SECONDS)

    def advance(self, connection: Connection) -> None:
        """Give a free connection its next visitor, or let it rest."""
        if self._backlog:
            connection.send(*self._backlog.popleft())
            return
        visit = None if self.plan.rate else self.crowd.next()
        if visit is None:
            self._working -= 1
            self._idle.append(connection)
            return
        self._offered += 1
        connection.send(visit, perf_counter())

    def answered(self, visit: Visit, status: int, body: bytes, seconds: float) -> bool:
        """Take in an answer; whether the visitor is done and need not ask again."""
        kind, outcome, order = self.crowd.judge(visit, status, body)
        self.tally.record(kind, outcome, seconds)
        self._last_answer_at = perf_counter()
        if order is not None:
            self._answers.write(order + "\n")
            self._reserved_at[1:] = [time.time()]
            if len(self._reserved_at) == 1:
                self._reserved_at.append(self._reserved_at[0])
        again = outcome == "not_open" or status in {429, 503}
        self.faults["repeated"] += again
        return not again

    def failed(self, what: str) -> None:
        """Count a lost connection; anything else is a broken answer, and noted."""
        if what in self.faults:
            self.faults[what] += 1
        else:
            self.crowd.note(what)

    def _result(self) -> dict[str, Any]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        opening = self.plan.starts_at_ms / 1000
        first, last = self._reserved_at or (opening, opening)
        return {
            "result": True,
            "reserved": self.crowd.reserved,
            "sold_out": self.crowd.sold_out,
            "first_reserved_seconds": first - opening,
            "last_reserved_seconds": last - opening,
            "counts": {kind: dict(found) for kind, found in self.tally.totals.items()},
            "latency": self.tally.latency(),
            "faults": self.faults,
            "problems": self.crowd.problems,
            "problem_count": self.crowd.problem_count,
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
        }


def main() -> int:
    """Read a plan, drive it, write progress and result; 1 where the server fell silent."""
    plan = Plan.from_json(sys.stdin.readline())

    def report(line: Mapping[str, Any]) -> None:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    try:
        with Path(plan.answers_path).open("w", encoding="ascii") as answers:
            report(uvloop.run(Driver(plan, answers, report).run()))
    except OSError as error:
        report({"error": str(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
