"""The machine is held to its own promise: scripts with a planted fault do not pass it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import Phase
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import SaleMachine
from tests.model.test_model import bounds, machine

#: File, what stands there, what stands there instead.
RETURNED_TO_NOBODY = (
    "includes/move_holds.lua",
    "redis.call('HINCRBY', keys.buyers, hold.buyer, '-' .. quantity)",
    "redis.call('HINCRBY', keys.buyers, hold.buyer, '0')",
)
NO_EVENT = (
    "release.lua",
    "return {'RELEASED', move_holds(moves, keys, epoch, clock())[1]}",
    (
        "local at, seq = clock(), redis.call('HGET', meta, 'seq')\n"
        "local record = move_holds(moves, keys, epoch, at)[1]\n"
        "local last = redis.call('XREVRANGE', events, '+', '-', 'COUNT', 1)\n"
        "redis.call('XDEL', events, last[1][1])\n"
        "redis.call('HSET', meta, 'seq', seq)\n"
        "return {'RELEASED', record}"
    ),
)
SOLD_TWICE = ("capture.lua", "if tonumber(available) < hold.quantity then", "if false then")
LIMIT_FORGOTTEN = (
    "capture.lua",
    "if count + hold.quantity > tonumber(lane[3]) then",
    "if false then",
)


@pytest.mark.parametrize("fault", [RETURNED_TO_NOBODY, NO_EVENT])
def test_a_search_finds_what_is_planted(
    new_database: Callable, schema: str, redis_url: str, tmp_path: Path, fault: tuple[str, str, str]
):
    searching = bounds(40, 25, derandomize=True, database=None, phases=[Phase.generate])
    with (
        machine(new_database, schema, redis_url, tmp_path, fault) as model,
        pytest.raises(AssertionError, match="INV-"),
    ):
        run_state_machine_as_test(model, settings=searching)


def _pay_late(model: type[SaleMachine], *, who_else: str) -> None:
    """A buyer's hold runs out at the checkout; another order takes what it had; then they pay."""
    play = model()
    play.schedule(kind="launch", capacity=[1, 1], limit=1)
    play.reserve_and_pay(wish=("ann", "k1", 0, 1))
    play.advance(seconds=1000)
    play.expire(limit=10)
    play.reserve(wishes=[(who_else, "k2", 0 if who_else == "bob" else 1, 1)])
    play.press(number=0, action="pay")
    play.hear_and_work()
    play.teardown()


@pytest.mark.parametrize(
    ("fault", "who_else"), [(SOLD_TWICE, "bob"), (LIMIT_FORGOTTEN, "ann")], ids=["stock", "limit"]
)
def test_money_that_comes_late_takes_nothing_unseen(
    new_database: Callable,
    schema: str,
    redis_url: str,
    tmp_path: Path,
    fault: tuple[str, str, str],
    who_else: str,
):
    """Too deep for a short search: the same steps pass with sound scripts and fail without."""
    with machine(new_database, schema, redis_url, tmp_path / "sound") as model:
        _pay_late(model, who_else=who_else)
    with (
        machine(new_database, schema, redis_url, tmp_path / "faulty", fault) as model,
        pytest.raises(AssertionError, match=r"nothing is left|above the buyer's limit"),
    ):
        _pay_late(model, who_else=who_else)
