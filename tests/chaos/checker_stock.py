"""What the two stores must say of stock, each by itself and of one another. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.chaos.checker_run import SALE_ID_LENGTH, Broken, Lane, Run, to_ms

#: The counter in which a record's units stand; those of an ended one are on sale again.
HOMES = {"R": "held", "P": "paying", "S": "sold", "E": "sold"}
#: What Postgres says of an order whose record has a letter, once all is settled.
SETTLED_STATES = {
    "R": {"confirmed"},
    "P": {"paying"},
    "S": {"paid", "fulfilled"},
    "E": {"deposit_paid", "allocated", "balance_due", "paid", "fulfilled"},
    "X": {"expired"},
    "C": {"cancelled"},
    "J": {"rejected"},
    "F": {"refunded"},
    "L": {"forfeited"},
}
ENDED = frozenset({"expired", "cancelled", "rejected", "refunded", "forfeited"})


def balanced(run: Run) -> Iterator[Broken]:
    """INV-1, and each counter against the records that it counts."""
    for lane in run.lanes:
        recorded: Counter[str] = Counter()
        for hold in lane.holds.values():
            if home := HOMES.get(hold.letter):
                recorded[f"{home}:{hold.item}"] += hold.quantity
        for item in range(int(lane.meta.get("items", 0))):
            names = ("available", "held", "paying", "sold")
            found = {name: lane.stock.get(f"{name}:{item}", 0) for name in names}
            capacity = lane.stock.get(f"capacity:{item}", 0)
            evidence = {"sale": lane.sale, "lane": lane.lane, "item": item, **found}
            if sum(found.values()) != capacity or min(found.values()) < 0:
                yield Broken("INV-1", "A + H + Y + S is not C", evidence | {"capacity": capacity})
            for name in names[1:]:
                if found[name] != recorded[f"{name}:{item}"]:
                    what = f"{name} is not what the records say"
                    yield Broken("INV-1", what, evidence | {"records": recorded[f"{name}:{item}"]})


def within_capacity(run: Run) -> Iterator[Broken]:
    """INV-2 and INV-6: live units in Postgres fit, and were counted once."""
    live: Counter[tuple[str, int]] = Counter()
    for row in run.rows("orders"):
        if row["state"] not in ENDED:
            live[row["sale_id"], row["item"]] += row["quantity"]
    capacities: Counter[tuple[str, int]] = Counter()
    for lane in run.lanes:
        for item in range(int(lane.meta.get("items", 0))):
            capacities[lane.sale, item] += lane.stock.get(f"capacity:{item}", 0)
    for row in run.rows("sale_items"):
        place = row["sale_id"], row["item"]
        if live[place] > row["capacity"]:
            yield Broken("INV-2", "more units are live than exist", [*place, live[place]])
        if live[place] != row["live"]:
            evidence = {"item": place, "live": row["live"], "orders": live[place]}
            yield Broken("INV-6", "live units were not counted once", evidence)
        if place in capacities and capacities[place] != row["capacity"]:
            evidence = {"item": place, "postgres": row["capacity"], "redis": capacities[place]}
            yield Broken("INV-4", "the stores disagree about a capacity", evidence)


def agreed(run: Run) -> Iterator[Broken]:
    """INV-4 order by order, for all is settled when the stores are read."""
    orders, held, dead = run.orders, run.held(), run.dead_orders()
    running = {lane.sale for lane in run.lanes if lane.exists}
    for lane in run.lanes:
        if lane.pending or lane.lag:
            evidence = {"lane": [lane.sale, lane.lane], "pending": lane.pending, "lag": lane.lag}
            yield Broken("INV-4", "events are left unsettled", evidence)
    for name in sorted(set(orders) | set(held)):
        row, hold = orders.get(name), held.get(name)
        if name in dead or name[:SALE_ID_LENGTH] not in running:
            continue
        if row is None or hold is None:
            where = "Postgres" if row is None else "Redis"
            yield Broken("INV-4", f"an order is not in {where}", [name, hold or row])
            continue
        wrong = [
            what
            for what, differs in (
                ("state", row["state"] not in SETTLED_STATES.get(hold.letter, ())),
                ("version", row["version"] != hold.version),
                ("item", row["item"] != hold.item),
                ("quantity", row["quantity"] != hold.quantity),
                ("buyer", row["buyer_id"] != hold.buyer),
            )
            if differs
        ]
        if wrong:
            what = f"the stores disagree about an order's {', '.join(wrong)}"
            yield Broken("INV-4", what, {"order": name, "postgres": row, "redis": hold})


def limited(run: Run) -> Iterator[Broken]:
    """INV-7: nobody has more than the limit, and Redis' counter is right."""
    dead = run.dead_orders()
    live: Counter[tuple[str, str]] = Counter()
    for row in run.rows("orders"):
        if row["state"] not in ENDED:
            live[row["sale_id"], row["buyer_id"]] += row["quantity"]
    unsettled = {run.held()[name].buyer for name in dead if name in run.held()}
    for lane in run.lanes:
        yield from _limited_lane(lane, live, unsettled)


def _limited_lane(
    lane: Lane, live: Counter[tuple[str, str]], unsettled: set[str]
) -> Iterator[Broken]:
    if not lane.exists:
        return
    recorded: Counter[str] = Counter()
    for hold in lane.holds.values():
        recorded[hold.buyer] += hold.quantity * (hold.letter in HOMES)
    limit = int(lane.meta["buyer_limit"])
    for buyer in sorted(set(recorded) | set(lane.buyers)):
        counts = {
            "counter": lane.buyers.get(buyer, 0),
            "redis": recorded[buyer],
            "postgres": live[lane.sale, buyer],
        }
        if max(counts.values()) > limit:
            what = f"a buyer has more than {limit}"
            yield Broken("INV-7", what, {"buyer": buyer, **counts})
        elif len(set(counts.values())) > 1 and buyer not in unsettled:
            yield Broken("INV-7", "a buyer's units are counted wrong", {"buyer": buyer, **counts})


def timely(run: Run) -> Iterator[Broken]:
    """INV-18 at the end, and INV-5: nothing ran out before its time."""
    ended_ms = int(run.facts.get("ended_ms") or 0)
    quiescence = run.facts.get("quiescence") or {}
    if quiescence.get("reached") is False:
        yield Broken("INV-18", "it did not come to rest in time", quiescence)
    for lane in run.lanes:
        overdue = {
            order: score
            for order, score in lane.deadlines.items()
            if not run.clocks_moved and score < ended_ms - 5_000
        }
        if overdue:
            yield Broken("INV-18", "holds are overdue", {"sale": lane.sale, "orders": overdue})
        for order in lane.deadlines:
            hold = lane.holds.get(order)
            if hold is None or hold.letter not in "RP":
                evidence = {"order": lane.sale + order, "record": hold}
                yield Broken("INV-5", "a deadline is left of a hold that ended", evidence)
        for order, hold in lane.holds.items():
            if hold.letter in "RP" and order not in lane.deadlines:
                evidence = {"order": lane.sale + order, "record": hold}
                yield Broken("INV-18", "a hold has no deadline and will never end", evidence)
    for row in run.rows("orders"):
        early = row["state"] == "expired" and to_ms(row["decided_at"]) < to_ms(
            row["hold_expires_at"]
        )
        if early:
            yield Broken("INV-5", "an order ran out before its time", row)
