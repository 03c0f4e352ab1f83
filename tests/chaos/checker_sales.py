"""What a merchant did to a running sale: pauses, its end, waves. By clients' answers too. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tests.chaos.checker_run import SALE_ID_LENGTH, Broken, Op, Run, to_ms

#: A command that nobody answered may take effect later: no fault holds a request back for longer.
_LINGERS_MS = 15_000
#: The state of a sale's lanes, by the sale's own.
_LANE_STATES = {"scheduled": "open", "open": "open", "paused": "paused", "closed": "closed"}
_SHUTTING = frozenset({"pause", "close"})
#: What a buyer is told of a sale that takes nothing, and the command that must have caused it.
_TOLD = {"paused": "pause", "sale_over": "close"}
_OVERDUE_MS = 5_000


class Accepted(NamedTuple):
    """A reservation that was given: between its first asking and its first answer."""

    asked: int
    answered: int
    op: Op


def _commands(run: Run) -> dict[str, list[Op]]:
    """What may have been done to each sale; what was refused was not."""
    found: dict[str, list[Op]] = defaultdict(list)
    for op in run.ops:
        if op.op in {"pause", "resume", "close"} and op.ok is not False:
            found[op.args["sale"]].append(op)
    return found


def _until(op: Op) -> int:
    """When a command has taken effect, if it ever does."""
    return op.returned if op.ok else op.returned + _LINGERS_MS


def _accepted(run: Run) -> Iterator[Accepted]:
    asked: dict[tuple[str, str | None], list[Op]] = defaultdict(list)
    for op in run.ops:
        if op.op == "reserve":
            asked[op.buyer, op.key].append(op)
    for ops in asked.values():
        won = [op for op in ops if op.ok and op.order]
        if won:
            first = min(won, key=lambda op: op.returned)
            yield Accepted(min(op.invoked for op in ops), first.returned, first)


def _forgotten(run: Run, since: int, until: int) -> bool:
    """Whether a disk has gone back meanwhile, perhaps to before a command."""
    return any(at_ms <= until and done_ms >= since for at_ms, done_ms in run.losses())


def shut(run: Run) -> Iterator[Broken]:
    """INV-13: whoever asked after a sale was shut got nothing before it was to be opened again."""
    commands = _commands(run)
    for each in _accepted(run):
        assert each.op.order is not None
        done = commands.get(each.op.order[:SALE_ID_LENGTH], [])
        for stop in done:
            if stop.op not in _SHUTTING or not stop.ok or stop.returned >= each.asked:
                continue
            if _reopened(done, stop, each.answered) or _forgotten(run, stop.invoked, each.answered):
                continue
            what = f"a unit was given away after a {stop.op}"
            yield Broken("INV-13", what, {"stopped": stop, "given": each.op})
            break


def _reopened(done: Sequence[Op], stop: Op, before: int) -> bool:
    """Whether the sale may have gone on after a command that stopped it."""
    return stop.op == "pause" and any(
        op.op == "resume" and op.invoked < before and _until(op) > stop.invoked for op in done
    )


def told(run: Run) -> Iterator[Broken]:
    """INV-13 the other way: nobody is sent away from a sale that goes on."""
    commands = _commands(run)
    by_hand = {row["sale_id"] for row in run.rows("sale_items") if row.get("shut_reason")}
    for op in run.ops:
        cause = _TOLD.get(op.code or "")
        sale = str(op.args.get("sale", ""))
        if op.op != "reserve" or cause is None or not sale or sale in by_hand:
            continue
        done = commands.get(sale, [])
        if not any(_may_last(run, done, stop, op) for stop in done if stop.op == cause):
            what = f"told {op.code} by a sale that was not"
            yield Broken("INV-13", what, op)


def _may_last(run: Run, done: Sequence[Op], stop: Op, op: Op) -> bool:
    """Whether a sale can have been stopped by a command when somebody was told so."""
    if stop.invoked >= op.returned:
        return False
    over = stop.op == "pause" and any(
        each.op == "resume"
        and each.ok
        and each.invoked > _until(stop)
        and each.returned < op.invoked
        for each in done
    )
    return not over or _forgotten(run, stop.invoked, op.returned)


def agreed(run: Run) -> Iterator[Broken]:
    """INV-4: lanes are in the state of their sale; INV-9: a sale that was closed stays closed."""
    rows = {row["id"]: row for row in run.rows("sales")}
    for lane in run.lanes:
        row = rows.get(lane.sale)
        wanted = _LANE_STATES.get(row["state"]) if row is not None else None
        if row is not None and lane.exists and lane.meta.get("state") != wanted:
            evidence = {"sale": row["id"], "postgres": row["state"], "redis": lane.meta["state"]}
            yield Broken("INV-4", "the stores disagree about a sale's state", evidence)
    for sale, done in _commands(run).items():
        closed = any(op.op == "close" and op.ok for op in done)
        if closed and sale in rows and rows[sale]["state"] != "closed":
            yield Broken("INV-9", "a sale was closed and is not", [sale, rows[sale]["state"]])


def supplied(run: Run) -> Iterator[Broken]:
    """Waves and cuts: each that was answered is there, counted once, and not before its time."""
    rows = {row["id"]: row for row in run.rows("supplies")}
    planned: dict[str, Op] = {}
    for op in run.ops:
        if op.op != "supply" or not op.ok or "id" not in op.body:
            continue
        row = rows.get(op.body["id"])
        if row is None or row["quantity"] != op.args["quantity"]:
            yield Broken("INV-9", "an answered supply is not there as it was asked", [op, row])
        elif "at" in op.args:
            planned[row["id"]] = op
    yield from _told_once(run, planned)
    yield from _counted(run, rows)
    ended_ms = int(run.facts.get("ended_ms") or 0)
    for row in rows.values():
        due = row["state"] == "pending" and to_ms(row["at"]) < ended_ms - _OVERDUE_MS
        if due and not run.clocks_moved:
            yield Broken("INV-18", "a supply is overdue", row)


def _told_once(run: Run, planned: Mapping[str, Op]) -> Iterator[Broken]:
    for lane in run.lanes:
        times: Counter[str] = Counter()
        for entry in lane.entries:
            for kind, detail in entry.sales:
                name = detail.split(" ")[0]
                times[name] += kind == "supply"
                op = planned.get(name) if kind == "supply" else None
                early = op is not None and entry.at_ms < to_ms(op.args["at"])
                if early and not run.clocks_moved:
                    evidence = {"at_ms": entry.at_ms, "planned": op}
                    yield Broken("INV-13", "a wave came before its time", evidence)
        for name, count in times.items():
            if count > 1:
                yield Broken("INV-3", "a supply was told more than once", [lane.sale, name, count])


def _counted(run: Run, rows: Mapping[str, Mapping[str, Any]]) -> Iterator[Broken]:
    given: Counter[tuple[str, int]] = Counter()
    for row in rows.values():
        given[row["sale_id"], row["item"]] += row["quantity"] * (row["state"] == "applied")
    units = run.facts.get("units") or {}
    for row in run.rows("sale_items"):
        place = row["sale_id"], row["item"]
        if row["sale_id"] not in run.facts.get("sales", ()) or row["sku"] not in units:
            continue
        expected = units[row["sku"]] + given[place]
        if row["capacity"] != expected:
            evidence = {"item": place, "capacity": row["capacity"], "supplied": expected}
            yield Broken("INV-2", "a capacity is not what was supplied", evidence)
