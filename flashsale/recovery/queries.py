"""Recovery's reads and writes of Postgres as typed calls; it decides nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import asyncpg

from flashsale.domain.orders import OrderState
from flashsale.recovery.plan import StoredOrder
from flashsale.sales.queries import find_sale
from flashsale.sales.values import SaleFacts
from flashsale.settlement.queries import Connection, Pool
from flashsale.sql import load_queries

_SQL = load_queries(Path(__file__).with_name("queries.sql"))
#: The first half of the lock's name; the second is the sale.
_LOCK_KEY = 0x666C_7263


class LaneKnown(NamedTuple):
    """What was ever known of a lane: its newest settled id, and the highest entry number."""

    last_entry_id: str = "0-0"
    seq: int = 0


@dataclass(frozen=True, slots=True)
class WatchedSale:
    """A sale whose lanes must be in Redis, written in its `run`; `known` lane by lane.

    `under_way`: a recovery of it was begun and has not ended.
    """

    id: str
    epoch: int
    run: str | None
    under_way: bool
    known: tuple[LaneKnown, ...]


class LaneRecord(NamedTuple):
    """What Postgres remembers of a lane's stream; ranges are half-open.

    `put_aside`: whether some of what is accounted for is a dead letter.
    """

    last_entry_id: str
    seen_seq: int
    accounted: tuple[tuple[int, int], ...]
    put_aside: bool = False


async def watched(pool: Pool, sales: Sequence[str] | None = None) -> list[WatchedSale]:
    """Every sale whose lanes must be there, or those of `sales`."""
    found = []
    for row in await pool.fetch(_SQL["watched"], sales):
        known = [LaneKnown()] * row["lanes"]
        for lane, last_entry_id, seen_seq, settled in json.loads(row["known"]):
            if lane < len(known):
                known[lane] = LaneKnown(last_entry_id, max(seen_seq, settled))
        found.append(
            WatchedSale(row["id"], row["epoch"], row["run"], row["under_way"], tuple(known))
        )
    return found


async def run_of(session: Connection, sale: str) -> str | None:
    """The run of Redis in which the sale's lanes were armed, or last sealed."""
    run: str | None = await session.fetchval(_SQL["run_of"], sale)
    return run


async def sealed(session: Connection, sale: str, run: str, survived: Sequence[int]) -> None:
    """Record that nobody uses a lane of this run before it is rebuilt; `survived` lane by lane."""
    await session.execute(_SQL["sealed"], sale, run, list(survived))


async def of_another_run(pool: Pool, run: str) -> str | None:
    """A sale that this run of Redis cannot be used with yet."""
    sale: str | None = await pool.fetchval(_SQL["of_another_run"], run)
    return sale


async def note_seen(pool: Pool, seen: Mapping[tuple[str, int], int]) -> None:
    """Remember the newest entry number of lanes (sale, lane)."""
    await _by_lane(pool, "note_seen", seen)


async def tell_of_lost(pool: Pool, heard: Mapping[tuple[str, int], int], run: str) -> None:
    """Remember that orders were lost, where more was heard of a lane than `run` was rebuilt with.

    `heard` is from before this run of Redis was used.
    """
    await _by_lane(pool, "tell_of_lost", heard, run)


async def _by_lane(
    pool: Pool, name: str, numbers: Mapping[tuple[str, int], int], *more: str
) -> None:
    if numbers:
        # Every process tells at once where Redis was restarted: in one order, or they deadlock.
        places = sorted(numbers)
        columns = [*map(list, zip(*places, strict=True)), [numbers[each] for each in places]]
        await pool.execute(_SQL[name], *columns, *more)


async def take_sale(session: Connection, sale: str) -> bool:
    """Whether this session is now the one that recovers the sale."""
    return bool(await session.fetchval(_SQL["take_sale"], _LOCK_KEY, sale))


async def release_sale(session: Connection, sale: str) -> None:
    """Let others recover the sale."""
    await session.execute(_SQL["release_sale"], _LOCK_KEY, sale)


async def begin(session: Connection, sale: str, reason: str, found: int) -> int | None:
    """The epoch of a recovery that is under way, else of a new one; None: it has no lanes.

    `found` is the highest epoch in Redis. It is ahead of Postgres where Postgres went back.
    """
    async with session.transaction():
        under_way = await session.fetchval(_SQL["under_way"], sale)
        if under_way is not None and under_way >= found:
            return int(under_way)
        epoch = await session.fetchval(_SQL["raise_epoch"], sale, found)
        if epoch is None:
            return None
        begun = "begin_recovery" if under_way is None else "begin_anew"
        await session.execute(_SQL[begun], sale, epoch, reason)
    return int(epoch)


async def fence(session: Connection, sale: str, lanes: int, epoch: int) -> None:
    """Let nobody settle what was read before the lanes were drained."""
    await session.execute(_SQL["fence"], sale, lanes, epoch)
    await session.execute(_SQL["forget_settled_letters"], sale)


async def take_stock(session: Connection, sale: str) -> SaleFacts:
    """The sale with the capacity that its lanes are rebuilt with.

    Supply that this capacity counts is done with; what is counted later is told to the new lanes.
    """
    async with session.transaction():
        await session.execute(_SQL["lock_sale"], sale)
        await session.execute(_SQL["count_waves"], sale)
        await session.execute(_SQL["forget_cuts"], sale)
        facts = await find_sale(session, sale)
    assert facts is not None
    return facts


async def step_on(
    session: Connection, sale: str, epoch: int, *, step: str, ended: str, took_ms: int
) -> None:
    """Record that a step ended, how long it took, and which comes next."""
    await session.execute(_SQL["step_on"], sale, epoch, step, ended, took_ms)


async def orders(session: Connection, sale: str) -> list[StoredOrder]:
    """Every order of the sale."""
    rows = await session.fetch(_SQL["orders"], sale)
    return [StoredOrder(row[0], _STATES[row[1]], *row[2:]) for row in rows]


async def lane_records(session: Connection, sale: str, lanes: int) -> list[LaneRecord]:
    """What is remembered of each lane."""
    found = [LaneRecord("0-0", 0, ())] * lanes
    for row in await session.fetch(_SQL["lane_history"], sale):
        ranges = [*row["settled"], *(row["dead"] or ())]
        if row["lane"] < lanes:
            found[row["lane"]] = LaneRecord(
                row["last_entry_id"],
                row["seen_seq"],
                tuple((each.lower, each.upper) for each in ranges),
                bool(row["dead"]),
            )
    return found


async def note_lost(
    session: Connection, sale: str, lane: int, lost: Sequence[tuple[int, int]], seq: int
) -> None:
    """Account for lost entry numbers."""
    ranges = [asyncpg.Range(low, high) for low, high in lost]
    await session.execute(_SQL["note_lost"], sale, lane, ranges, seq)


async def wish_again(session: Connection, sale: str) -> None:
    """Have Redis told again what it may have forgotten of payments, refunds and changes."""
    await session.execute(_SQL["wish_again"], sale)


async def may_have_lost(session: Connection, sale: str) -> None:
    """Remember that buyers may ask for orders that are in neither store."""
    await session.execute(_SQL["may_have_lost"], sale)


async def end(
    session: Connection,
    sale: str,
    epoch: int,
    *,
    orders: int,
    live_units: int,
    entries_lost: int,
    took_ms: int,
) -> tuple[str, dict[str, int]]:
    """Record the end; the reason it was begun for, and how long each step took."""
    row = await session.fetchrow(
        _SQL["end_recovery"], sale, epoch, orders, live_units, entries_lost, took_ms
    )
    assert row is not None
    return row["reason"], json.loads(row["took_ms"])


_STATES = {state.value: state for state in OrderState}
