"""Bugs in the processes: other functions in place of the engine's."""

from __future__ import annotations

from tests.chaos.planted import patches, patches_merchant
from tests.chaos.planted.values import LATE_MONEY, Bug, Fault

_SETTLERS = ("settle-1", "settle-2")


def _crashes(point: str, *at_ms: int) -> tuple[Fault, ...]:
    return tuple(Fault(at, "crash_at", {"point": point, "ms": 1000}) for at in at_ms)


def _kills(name: str, *at_ms: int) -> tuple[Fault, ...]:
    return tuple(
        Fault(at, f"kill_{name.split('-', maxsplit=1)[0]}", {"name": name}) for at in at_ms
    )


FUNCTIONS = (
    Bug(
        "acknowledge_before_commit",
        "entries are acknowledged before they are settled",
        frozenset({"INV-4", "INV-9", "INV-15"}),
        seconds=10,
        faults=(
            Fault(2000, "postgres_down", {"ms": 3000}),
            *(fault for name in _SETTLERS for fault in _kills(name, 3500)),
        ),
        patches=(patches.acknowledge_before_commit,),
    ),
    Bug(
        "settle_twice",
        "an entry that is delivered again counts its units again",
        frozenset({"INV-2", "INV-6"}),
        seconds=10,
        faults=_crashes("before_acknowledge", 1500, 3000, 4500, 6000),
        patches=(patches.settle_twice,),
    ),
    Bug(
        "older_event_wins",
        "settlement looks neither at versions nor at what is legal",
        frozenset({"INV-4", "INV-6", "INV-11"}),
        seconds=10,
        faults=(
            Fault(1500, "stop_and_go", {"name": "settle-1", "ms": 2500}),
            Fault(5500, "stop_and_go", {"name": "settle-2", "ms": 2500}),
        ),
        patches=(patches.older_event_wins,),
    ),
    Bug(
        "wrong_price",
        "settlement writes another price than was announced",
        frozenset({"INV-8"}),
        patches=(patches.wrong_price,),
    ),
    Bug(
        "sold_out_by_flag",
        "a process that saw the end refuses winners who ask again",
        frozenset({"INV-10", "INV-11"}),
        seconds=12,
        units=12,
        patches=(patches.sold_out_by_flag,),
    ),
    Bug(
        "never_expire",
        "nobody ends what is overdue",
        frozenset({"INV-18"}),
        seconds=4,
        patches=(patches.never_expire,),
    ),
    Bug(
        "forget_refund",
        "a refund is written down as sent and is not",
        frozenset({"INV-12", "INV-18"}),
        seconds=8,
        patches=(patches.forget_refund,),
    ),
    Bug(
        "keep_late_money",
        "money that found no unit is kept",
        frozenset({"INV-12"}),
        seconds=14,
        units=15,
        faults=LATE_MONEY,
        patches=(patches.keep_late_money,),
    ),
    Bug(
        "lose_callbacks",
        "some callbacks are answered 200 and forgotten",
        frozenset({"INV-12"}),
        seconds=8,
        patches=(patches.lose_callbacks,),
    ),
    Bug(
        "recover_without_draining",
        "recovery does not settle what survived",
        frozenset({"INV-4", "INV-9", "INV-15"}),
        seconds=10,
        faults=(
            Fault(2000, "stop_and_go", {"name": "settle-1", "ms": 4000}),
            Fault(2000, "stop_and_go", {"name": "settle-2", "ms": 4000}),
            Fault(2800, "kill_redis", {"name": "redis"}),
        ),
        patches=(patches.recover_without_draining,),
    ),
    Bug(
        "answer_without_asking",
        "a buyer is told yes where Redis did not answer",
        frozenset({"INV-9"}),
        seconds=8,
        faults=(Fault(3000, "black_hole", {"server": "redis", "ms": 2600}),),
        patches=(patches.answer_without_asking,),
    ),
    Bug(
        "pause_later",
        "a merchant is answered before the lanes have heard of a pause",
        frozenset({"INV-13"}),
        faults=(Fault(1500, "pause_sale", {"ms": 2000}),),
        patches=(patches_merchant.pause_later,),
    ),
    Bug(
        "supply_early",
        "a wave comes seconds before its time",
        frozenset({"INV-13"}),
        seconds=8,
        faults=(Fault(1000, "plan_wave", {"quantity": 10, "in_ms": 4000}),),
        patches=(patches_merchant.supply_early,),
    ),
)
