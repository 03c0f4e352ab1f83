"""Rebuilds one lane in Redis, call by call. It decides nothing: recovery tells it what was true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from flashsale.domain.outcomes import Status
from flashsale.domain.sales import Terms
from flashsale.reservation.errors import LaneLostError, ScriptError
from flashsale.reservation.keys import lane_keys
from flashsale.reservation.scripts import ScriptRunner

#: Orders in one call; about 2 ms of Redis' time.
ORDERS_MAX = 500


class LaneOrder(NamedTuple):
    """An order's record; `letter` as in `outcomes.HOLD_STATES`, `due_ms` 0: no clock ends it."""

    order: str
    letter: str
    version: int
    item: int
    quantity: int
    deadline_ms: int
    due_ms: int
    buyer: str


class LaneRebuilder:
    """The four steps from a lane that is not as it should be to one that is.

    Every call may be repeated. Raises StoreUnavailableError, and LaneLostError where another
    recovery, of a later epoch, is at work.
    """

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner

    async def seal(self, sale: str, lane: int, epoch: int) -> Status:
        """Shut what is left of a lane: DONE, ALREADY, MISSING_LANE, OPENED (rebuilt already)."""
        return await self._run("seal", (lane_keys(sale, lane).meta,), (epoch,))

    async def begin(
        self,
        sale: str,
        lane: int,
        epoch: int,
        *,
        state: str,
        terms: Terms,
        seq: int,
        capacities: Sequence[int],
    ) -> None:
        """Empty the lane and give it its terms; `seq` entries have been appended to it so far."""
        keys = lane_keys(sale, lane)
        names = (keys.meta, keys.stock, keys.holds, keys.deadlines, keys.buyers, keys.supplies)
        instants = (terms.starts_at_ms, terms.ends_at_ms, terms.buyer_limit, terms.hold_ms)
        await self._run("rebuild_lane", names, (epoch, state, *instants, seq, *capacities))

    async def put(self, sale: str, lane: int, epoch: int, orders: Sequence[LaneOrder]) -> None:
        """Put back orders, at most ORDERS_MAX."""
        arguments: list[str | int] = [epoch, len(orders)]
        for order in orders:
            arguments += order
        await self._run("rebuild_orders", lane_keys(sale, lane)[:5], arguments)

    async def reopen(
        self, sale: str, lane: int, epoch: int, *, orders: int, last_entry_id: str
    ) -> None:
        """Write the epoch: from now on the lane takes commands. ScriptError: it does not add up."""
        keys = lane_keys(sale, lane)
        names = (keys.meta, keys.stock, keys.holds, keys.events)
        status = await self._run("reopen_lane", names, (epoch, orders, last_entry_id))
        if status in {Status.BUSY_LANE, Status.BELOW_LIVE}:
            raise ScriptError(
                f"sale {sale}, lane {lane} does not add up after its rebuilding ({status.value})"
            )

    async def _run(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Status:
        reply = await self._runner.run(script, keys, arguments)
        status = Status(reply[0])
        if status is Status.BAD_ARGUMENT:
            raise ScriptError(f"{script}.lua refused its arguments: {reply[1:]}")
        if status is Status.FOREIGN_EPOCH:
            raise LaneLostError(f"another recovery of sale lane {keys[0]} is at work")
        return status
