"""Whether the answers about one order can have come about, one after the other. Pure.

An order's history is linearizable where there is an instant for each operation, between its call
and its answer, at which a single machine would have answered just that (Herlihy and Wing, 1990).
The machine moves by itself as well: it settles, holds run out, providers call. An operation that
nobody saw answered may take effect at any later time, or never. The search is Wing and Gong's.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from tests.chaos.checker_run import Broken, Op, Run

ABSENT = "absent"
#: What happens without a client, or some time after it asked: (cause, from) -> to. A cause is the
#: operation that must have been called before; None: the clock, settlement or the engine itself.
_STEPS: tuple[tuple[str | None, str, str], ...] = (
    (None, "reserved", "confirmed"),
    (None, "reserved", "rejected"),
    (None, "reserved", "expired"),
    (None, "confirmed", "expired"),
    (None, "paying", "expired"),
    (None, "paying", "confirmed"),
    ("pay", "confirmed", "paying"),
    # A payment that costs nothing, or is taken at once, needs no page.
    ("checkout", "paying", "paid"),
    ("checkout", "confirmed", "paid"),
    ("checkout", "expired", "paid"),
    ("cancel", "reserved", "cancelled"),
    ("cancel", "confirmed", "cancelled"),
    ("cancel", "paying", "cancelled"),
    ("cancel", "paid", "refunded"),
    ("refund", "paid", "refunded"),
    ("ship", "paid", "fulfilled"),
)
#: Refusals of a reservation that come only where its key has no order.
ABSENT_CODES = frozenset(
    {"sold_out", "limit_reached", "not_open", "sale_over", "paused", "unknown_sku"}
)
_GONE_CODES = frozenset({"unknown_order", "reservation_lost"})
_CAUSES = frozenset({"pay", "checkout", "cancel", "refund", "ship"})
_STATES_MAX = 200_000
#: Times that one order may be put back; each may stand for a later one as well.
_LOSSES_MAX = 4


class Machine(NamedTuple):
    """An order as the machine has it, and what was asked of it so far."""

    state: str
    asked: frozenset[str]


class Step(NamedTuple):
    """An operation as the search sees it; `surely`: it took effect before it returned."""

    op: str
    invoked: float
    returned: float
    surely: bool
    #: The state that the answer told; None: it told none.
    told: str | None
    absent: bool = False


_REACHED: dict[Machine, frozenset[str]] = {}


def reached(machine: Machine) -> frozenset[str]:
    """Every state that the machine can come to by itself, its own included."""
    if machine not in _REACHED:
        found, ahead = {machine.state}, [machine.state]
        while ahead:
            here = ahead.pop()
            for cause, before, after in _STEPS:
                asked = cause is None or cause in machine.asked
                if before == here and after not in found and asked:
                    found.add(after)
                    ahead.append(after)
        _REACHED[machine] = frozenset(found)
    return _REACHED[machine]


def _apply(machine: Machine, step: Step) -> Iterator[Machine]:
    """The machines that may be left after a step that answered what it answered."""
    asked = machine.asked | ({step.op} & _CAUSES)
    if step.op == "loss":
        # A disk has gone back to some earlier state, or to none. Who was asked is not forgotten.
        for state in {ABSENT, *(before for _, before, _ in _STEPS), machine.state}:
            if machine.state in reached(Machine(state, _CAUSES)) or state == ABSENT:
                yield Machine(state, asked)
        return
    if step.absent:
        if machine.state == ABSENT:
            yield machine
        return
    if step.op == "reserve" and machine.state == ABSENT:
        machine = Machine("reserved", machine.asked)
    for state in reached(Machine(machine.state, asked)):
        if state != ABSENT and (step.told is None or state == step.told):
            yield Machine(state, asked)
    if step.told is None and machine.state == ABSENT:
        yield Machine(ABSENT, asked)


def explainable(steps: Sequence[Step]) -> bool:
    """Whether some order of the steps, each within its time, gives all the answers."""
    begin = (0, Machine(ABSENT, frozenset()))
    seen, ahead = {begin}, [begin]
    everything = sum(1 << number for number, step in enumerate(steps) if step.surely)
    while ahead:
        done, machine = ahead.pop()
        if done & everything == everything:
            return True
        if len(seen) > _STATES_MAX:
            return True  # too much at once to be judged; nothing is said against it
        left = [number for number in range(len(steps)) if not done >> number & 1]
        # Nothing may go before what had already been answered when it was called.
        soonest = min((steps[n].returned for n in left if steps[n].surely), default=float("inf"))
        for number in left:
            if steps[number].invoked > soonest:
                continue
            for after in _apply(machine, steps[number]):
                place = done | 1 << number, after
                if place not in seen:
                    seen.add(place)
                    ahead.append(place)
    return False


def step_of(op: Op) -> Step | None:
    """An operation as the search sees it; None where it says nothing about its order."""
    never = float("inf")
    if op.code == "reservation_lost" or (op.op == "read" and op.code in _GONE_CODES):
        return Step(op.op, op.invoked, op.returned, surely=True, told=None, absent=True)
    if op.op == "reserve" and op.ok is False:
        if op.code not in ABSENT_CODES:
            return None
        return Step(op.op, op.invoked, op.returned, surely=True, told=None, absent=True)
    if op.op in {"read", "reserve", "cancel"} and op.ok:
        return Step(op.op, op.invoked, op.returned, surely=True, told=op.state)
    if op.op in _CAUSES or op.op == "reserve":
        # Also what was refused may have been done: by an attempt that was repeated inside.
        return Step(op.op, op.invoked, never, surely=False, told=None)
    return None


def of_order(ops: Iterable[Op], losses: Sequence[tuple[int, int]] = ()) -> list[Step]:
    """The steps of one order. What is only asked counts once: asking again adds nothing."""
    steps: list[Step] = []
    asked: set[str] = set()
    for op in sorted(ops, key=lambda each: (each.invoked, each.returned)):
        step = step_of(op)
        if step is None or (not step.surely and step.op in asked):
            continue
        asked |= {step.op} & _CAUSES
        steps.append(step)
    # What is put back was copied earlier: a disk may forget what came after the copy.
    since = [at_ms for at_ms, done_ms in losses if not steps or done_ms >= steps[0].invoked]
    never = float("inf")
    lost = [Step("loss", at_ms, never, surely=False, told=None) for at_ms in since[:_LOSSES_MAX]]
    return [*steps, *lost]


def histories(run: Run) -> dict[str, list[Op]]:
    """Operations by order. A refused or unanswered reservation is of the order that its key won."""
    orders: dict[tuple[str, str], str] = {}
    for op in run.ops:
        if op.op == "reserve" and op.ok and op.order and op.key:
            orders.setdefault((op.buyer, op.key), op.order)
    found: dict[str, list[Op]] = {}
    for op in itertools.chain.from_iterable((each, *_listed(each)) for each in run.ops):
        order = op.order or orders.get((op.buyer, op.key or ""))
        if order is not None:
            found.setdefault(order, []).append(op)
    return found


def _listed(op: Op) -> Iterator[Op]:
    """A list reads every order on it."""
    for item in op.body.get("items") or [] if op.op == "list" and op.ok else []:
        told = {"op": "read", "order": item["id"], "state": item["state"], "body": item}
        yield replace(op, **told)


def linearizable(run: Run) -> Iterator[Broken]:
    """INV-10 and INV-11 as the clients saw them, ending with what the ledger says at last."""
    orders, losses = run.orders, run.losses()
    end = max((op.returned for op in run.ops), default=0) + 1
    merchant = {op.op for op in run.ops if op.op in {"refund", "ship"}}
    for order, ops in histories(run).items():
        steps = of_order(ops, losses)
        steps += [Step(op, 0, float("inf"), surely=False, told=None) for op in sorted(merchant)]
        row = orders.get(order)
        if row is not None:
            steps.append(Step("read", end, end, surely=True, told=row["state"]))
        if not explainable(steps):
            story = [[op.op, op.invoked, op.returned, op.ok, op.code or op.state] for op in ops]
            evidence = {"order": order, "answers": story, "at last": row and row["state"]}
            yield Broken("INV-11", "no order of events explains what was answered", evidence)
