"""Examples too long for a short search, told step by step; their ends are compared like any."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.model.machine import SaleMachine
from tests.model.test_model import machine

ANN, BOB = ("ann", "k1", 0, 1), ("bob", "k1", 0, 1)


@pytest.fixture
def play(
    new_database: Callable, schema: str, redis_url: str, tmp_path: Path
) -> Iterator[SaleMachine]:
    with machine(new_database, schema, redis_url, tmp_path) as model:
        yield model()


def _checkout(play: SaleMachine, kind: str = "launch") -> None:
    play.schedule(kind=kind, capacity=[1, 1], limit=1)
    play.reserve_and_pay(wish=ANN)


def test_money_whose_event_no_disk_has_still_pays(play: SaleMachine):
    _checkout(play)
    play.press(number=0, action="pay")
    play.keep_disk()
    play.hear_and_work()
    play.lose(how="older")
    play.teardown()
    (order,) = play.doings.shadow.orders.values()
    assert order.state == "paid"


def test_money_whose_event_is_lost_goes_back_where_the_unit_went_to_another(play: SaleMachine):
    _checkout(play)
    play.advance(seconds=1000)
    play.expire(limit=10)
    play.settle_all()
    play.press(number=0, action="pay")
    play.keep_disk()
    play.hear_and_work()
    play.lose(how="older")
    play.reserve(wishes=[BOB])
    play.teardown()
    states = {order.buyer: order.state for order in play.doings.shadow.orders.values()}
    assert states == {"ann": "expired", "bob": "expired"}


@pytest.mark.parametrize("how", ["older", "wiped"])
def test_a_refund_whose_event_is_lost_gives_its_unit_back_all_the_same(play: SaleMachine, how: str):
    _checkout(play)
    play.press(number=0, action="pay")
    play.hear_and_work()
    play.settle_all()
    play.keep_disk()
    play.cancel(number=0)
    play.lose(how=how)
    play.teardown()
    (order,) = play.doings.shadow.orders.values()
    assert order.state == "refunded"


def test_a_change_whose_event_is_lost_comes_to_an_end(play: SaleMachine):
    _checkout(play, "preorder")
    play.press(number=0, action="pay")
    play.hear_and_work()
    play.settle_all()
    play.keep_disk()
    play.change_item(number=0, at=1)
    play.lose(how="older")
    play.teardown()
    (order,) = play.doings.shadow.orders.values()
    assert (order.state, order.item) == ("deposit_paid", 1)


def test_a_second_card_too_late_gets_its_money_back(play: SaleMachine):
    _checkout(play)
    play.press(number=0, action="decline")
    play.hear_and_work()
    play.advance(seconds=1000)
    play.expire(limit=10)
    play.reserve(wishes=[BOB])
    play.press(number=0, action="pay")
    play.hear_and_work()
    play.teardown()
    assert {order.state for order in play.doings.shadow.orders.values()} == {"expired"}
