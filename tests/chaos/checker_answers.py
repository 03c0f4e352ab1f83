"""What clients were answered against what the stores have, and against one another. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from tests.chaos.checker_orders import histories
from tests.chaos.checker_run import SALE_ID_LENGTH, Broken, Op, Run, to_ms
from tests.chaos.checker_stock import ENDED

#: Answers that promise a row in Postgres; `reserved` promises a record in Redis.
_WRITTEN = frozenset({"confirmed", "paying", "paid", "fulfilled", "refunded"})


def _won(run: Run) -> Iterator[Op]:
    return (op for op in run.ops if op.op == "reserve" and op.ok and op.order)


def kept(run: Run) -> Iterator[Broken]:
    """INV-9: whoever was told "yes" is in a store, or was told that it is gone."""
    known = set(run.orders) | set(run.held())
    first_loss = min((at_ms for at_ms, _ in run.losses()), default=None)
    for op in _won(run):
        if op.order not in known and op.invoked > run.forgot_until_ms():
            yield Broken("INV-9", "an answered reservation is nowhere", op)
    for op in run.ops:
        gone = op.code == "reservation_lost" or op.state == "rejected"
        if gone and (first_loss is None or op.returned < first_loss):
            yield Broken("INV-9", "a reservation was called lost and no disk was", op)
    for name, row in run.orders.items():
        if row["state"] == "rejected" and not run.lossy:
            yield Broken("INV-9", "an order was rejected and no disk was lost", [name, row])
    for order, ops in histories(run).items():
        answered = min((op.returned for op in ops if op.op == "reserve" and op.ok), default=None)
        for op in ops:
            untold = op.op == "read" and op.code == "unknown_order"
            if untold and answered is not None and op.invoked > answered:
                yield Broken("INV-9", "a lost order is not told to be lost", [order, op])


def written(run: Run) -> Iterator[Broken]:
    """INV-8: confirmed means a row with the same buyer, SKU, quantity and price."""
    orders = run.orders
    skus = {(row["sale_id"], row["item"]): row["sku"] for row in run.rows("sale_items")}
    for op in run.ops:
        if op.order is None or not op.ok or op.op not in {"reserve", "read"}:
            continue
        row = orders.get(op.order)
        if row is None:
            if op.state in _WRITTEN:
                yield Broken("INV-8", f"answered {op.state} and it is not written", op)
            continue
        told = {
            "buyer": op.buyer,
            "quantity": op.body.get("quantity", row["quantity"]),
            "sku": op.body.get("sku", skus.get((row["sale_id"], row["item"]))),
        }
        is_ = {
            "buyer": row["buyer_id"],
            "quantity": row["quantity"],
            "sku": skus.get((row["sale_id"], row["item"])),
        }
        if op.op == "reserve" and op.state in {"reserved", "confirmed"}:
            due: Any = op.body.get("amount_due") or {}
            is_["price"] = row["unit_amount"] * row["quantity"]
            told["price"] = due.get("amount", is_["price"])
        if told != is_:
            yield Broken("INV-8", "an order is not what was answered", {"told": told, "is": is_})


def keyed(run: Run) -> Iterator[Broken]:
    """INV-10: one key and body, one order; another body is refused and does nothing."""
    by_key: dict[tuple[str, str], list[Op]] = defaultdict(list)
    for op in run.ops:
        if op.op == "reserve" and op.key:
            by_key[op.buyer, op.key].append(op)
    owners: dict[str, tuple[str, str]] = {}
    for place, ops in by_key.items():
        won = sorted((op for op in ops if op.ok), key=lambda op: op.returned)
        if len({op.order for op in won}) > 1:
            yield Broken("INV-10", "one key has several orders", won)
        if len({_body(op) for op in won}) > 1:
            yield Broken("INV-10", "a key was taken again with another body", won)
        bodies = {_body(op) for op in ops}
        for op in ops:
            if op.code == "idempotency_key_reused" and len(bodies) == 1:
                yield Broken("INV-10", "a repetition was called another request", op)
        for op in won:
            assert op.order is not None
            if owners.setdefault(op.order, place) != place:
                yield Broken("INV-10", "one order answers two keys", [owners[op.order], op])
    yield from _unasked(run, by_key)


def _body(op: Op) -> tuple[Any, Any]:
    return op.args.get("sku"), op.args.get("quantity")


def _unasked(run: Run, by_key: dict[tuple[str, str], list[Op]]) -> Iterator[Broken]:
    """A buyer has no more orders than keys of which nobody said a last no."""
    asked = Counter(
        buyer for (buyer, _), ops in by_key.items() if any(op.ok is not False for op in ops)
    )
    refused = {buyer for buyer, _ in by_key}
    found: dict[str, set[str]] = defaultdict(set)
    for name, row in run.orders.items():
        found[row["buyer_id"]].add(name)
    for name, hold in run.held().items():
        found[hold.buyer].add(name)
    for buyer in refused & found.keys():
        if len(found[buyer]) > asked[buyer]:
            evidence = {"buyer": buyer, "orders": sorted(found[buyer]), "keys": asked[buyer]}
            yield Broken("INV-10", "a buyer has an order that was refused or never asked", evidence)


def _surely_live(run: Run) -> Iterator[tuple[int, int, Op]]:
    """(from, to, its reservation) of every order by the clients' own evidence alone.

    From the first "yes" until it can have ended: a cancellation was asked for, or its time was up.
    """
    orders, sales = run.orders, set(run.facts.get("sales") or ())
    for order, ops in histories(run).items():
        won = [op for op in ops if op.op == "reserve" and op.ok]
        known = order[:SALE_ID_LENGTH] in sales
        if not won or not known or (run.lossy and order not in orders):
            continue
        first = min(won, key=lambda op: op.returned)
        asked = min((op.invoked for op in ops if op.op in {"cancel", "refund"}), default=None)
        end = _end(run, first, orders.get(order))
        if asked is not None:
            end = min(end, asked)
        if end > first.returned and first.state not in ENDED:
            yield first.returned, end, first


def _end(run: Run, first: Op, row: dict[str, Any] | None) -> int:
    if row is not None and row["state"] in {"paid", "fulfilled"} and not run.lossy:
        # Late money may have found another unit than the one that had run out.
        late = row["version"] != 3
        if not late:
            return int(run.facts.get("ended_ms") or first.returned)
    if run.clocks_moved or "hold_expires_at" not in first.body:
        return first.returned
    return to_ms(first.body["hold_expires_at"])


def _peaks(changes: Iterable[tuple[int, int]]) -> int:
    most = now = 0
    for _, delta in sorted(changes):
        now += delta
        most = max(most, now)
    return most


def evident(run: Run) -> Iterator[Broken]:
    """INV-2 and INV-7 from outside: what clients surely held at one time was there to be held."""
    by_sku: dict[Any, list[tuple[int, int]]] = defaultdict(list)
    by_buyer: dict[Any, list[tuple[int, int]]] = defaultdict(list)
    for begins, ends, op in _surely_live(run):
        assert op.order is not None
        quantity, sale = int(op.args["quantity"]), op.order[:SALE_ID_LENGTH]
        for changes in (by_sku[sale, op.args["sku"]], by_buyer[sale, op.buyer]):
            changes += [(begins, quantity), (ends, -quantity)]
    supply: Counter[Any] = Counter()
    for sale in run.facts.get("sales") or ():
        supply.update({(sale, sku): units for sku, units in run.facts["units"].items()})
    for op in run.ops:
        # A cut takes effect when nobody outside can tell; what it took is left in.
        if op.op == "supply" and op.ok is not False and op.args.get("quantity", 0) > 0:
            supply[op.args["sale"], op.args["sku"]] += op.args["quantity"]
    for sku, changes in by_sku.items():
        if sku in supply and (peak := _peaks(changes)) > supply[sku]:
            yield Broken("INV-2", f"{peak} units were held of {supply[sku]}", sku)
    limit = run.facts.get("buyer_limit")
    for buyer, changes in by_buyer.items():
        if limit is not None and (peak := _peaks(changes)) > limit:
            yield Broken("INV-7", f"a buyer held {peak} of {limit}", buyer)
