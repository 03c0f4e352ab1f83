"""Faults too deep for a short search: the same steps pass without them and fail with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.model.machine import SaleMachine
from tests.model.test_model import machine

ANN, BOB = ("ann", "k1", 0, 1), ("bob", "k1", 0, 1)
FORGETS_SUPPLIES = (
    "add_supply.lua",
    "if redis.call('SISMEMBER', supplies, supply) == 1 then",
    "if false then",
)
SELLS_MORE_THAN_IT_WAS_GIVEN = (
    "add_item.lua",
    "'available:' .. number, units",
    "'available:' .. number, decimal(capacity + 1)",
)
KEEPS_FORFEITED_UNITS = (
    "includes/move_holds.lua",
    "homes[hold.state], homes[move.letter]",
    "homes[hold.state], homes[move.letter == 'L' and 'S' or move.letter]",
)
KEEPS_THE_FORMER_SKU = ("includes/move_holds.lua", "if from ~= to then", "if false then")


def _told_twice(play: SaleMachine) -> None:
    """One lane has taken its share of a wave, and Redis does not answer."""
    play.schedule(kind="launch", capacity=[2, 2], limit=2, lanes=2)
    play.interrupt(what="wave", number=0, calls=1, answered=False)


def _added_in_between(play: SaleMachine) -> None:
    """A SKU that the second lane hears of later; its units are sold there as well."""
    play.schedule(kind="launch", capacity=[1, 1], limit=2, lanes=2)
    play.add_item(supply=2)
    play.interrupt(what="item", number=0, calls=3, answered=True)
    play.reserve(wishes=[("ann", "k1", 2, 1), ("bob", "k1", 2, 1), ("bob", "k2", 2, 1)])


def _paused_in_between(play: SaleMachine) -> None:
    """The first lane is paused and the second sells on, until somebody looks."""
    play.schedule(kind="launch", capacity=[2, 2], limit=2, lanes=2)
    play.interrupt(what="pause", number=0, calls=2, answered=True)
    assert [lane.state for lane in play.doings.shadow.lanes] == ["paused", "open"]
    play.reserve(wishes=[ANN, BOB])


def _zombie(play: SaleMachine) -> None:
    """What a worker holds is lost with the disk; the unit has another buyer when it goes on."""
    play.schedule(kind="launch", capacity=[1, 1], limit=1)
    play.reserve(wishes=[ANN])
    play.read(worker="one", count=1)
    play.read(worker="one", count=1)
    play.lose(how="wiped")
    play.reserve(wishes=[BOB])
    play.settle(number=0, acknowledge=True)
    play.settle(number=0, acknowledge=True)


def _lanes_rebuilt(play: SaleMachine) -> None:
    """What is unsold is shared out anew."""
    play.schedule(kind="launch", capacity=[3, 1], limit=2, lanes=2)
    play.reserve(wishes=[ANN])
    play.settle_all()
    play.lose(how="lane", calls=3)


def _forfeit(play: SaleMachine) -> None:
    """A saved card is declined, and the buyer does not pay either."""
    play.schedule(kind="preorder", capacity=[1, 1], limit=1)
    play.reserve_and_buy(wish=ANN)
    play.lot(at=0, quantity=1)
    play.collect(hours=2)
    play.hear_and_work()
    play.collect(hours=0)
    play.settle_all()
    (order,) = play.doings.shadow.orders.values()
    assert order.state == "forfeited"


def _changed(play: SaleMachine) -> None:
    """Redis has changed the SKU, and nobody has heard of it."""
    play.schedule(kind="preorder", capacity=[1, 1], limit=1)
    play.reserve_and_buy(wish=ANN)
    play.interrupt(what="change", number=1, calls=1, answered=False)
    play.work()
    (order,) = play.doings.shadow.orders.values()
    assert order.item == 1


async def _nobody(*_: Any) -> None:
    pass


def _everything_to_everyone(capacities: list[int], live: list[Any]) -> list[list[int]]:
    return [list(capacities) for _ in live]


PLANTED = [
    (_told_twice, FORGETS_SUPPLIES, "INV-"),
    (_added_in_between, SELLS_MORE_THAN_IT_WAS_GIVEN, "INV-1"),
    (_forfeit, KEEPS_FORFEITED_UNITS, "INV-1"),
    (_changed, KEEPS_THE_FORMER_SKU, "INV-1"),
    (_paused_in_between, ("tests.model.merchant.bring_in_line", _nobody), "never told"),
    (_zombie, ("flashsale.recovery.queries.fence", _nobody), "a zombie settles"),
    (
        _lanes_rebuilt,
        ("flashsale.recovery.protocol.lane_capacities", _everything_to_everyone),
        "not what Postgres has",
    ),
]


def _play(model: type[SaleMachine], story: Callable[[SaleMachine], None]) -> None:
    play = model()
    story(play)
    play.teardown()


def test_nothing_is_found_where_nothing_is_planted(
    new_database: Callable, schema: str, redis_url: str, tmp_path: Path
):
    with machine(new_database, schema, redis_url, tmp_path) as model:
        for story, _, _ in PLANTED:
            _play(model, story)


@pytest.mark.parametrize(
    ("story", "fault", "found"), PLANTED, ids=[story.__name__ for story, _, _ in PLANTED]
)
def test_what_is_planted_is_found(
    new_database: Callable,
    schema: str,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    story: Callable[[SaleMachine], None],
    fault: tuple[Any, ...],
    found: str,
):
    if in_python := len(fault) == 2:
        monkeypatch.setattr(*fault)
    faults = [] if in_python else [fault]
    with (
        machine(new_database, schema, redis_url, tmp_path, *faults) as model,
        pytest.raises(AssertionError, match=found),
    ):
        _play(model, story)
