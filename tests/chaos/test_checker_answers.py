"""Rules about answers find the history that breaks them, and leave alone what can have been."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.checker import judge
from tests.chaos.checker_orders import Step, explainable
from tests.chaos.checker_story import BEGUN, CAPACITY, Story, good_story, order_id

NEVER = float("inf")


def found(story: Story, folder: Path) -> set[tuple[str, str]]:
    return {(broken.invariant, broken.what) for broken in judge(story.run(folder))}


def line(story: Story, op: str, buyer: str) -> dict[str, Any]:
    return next(each for each in story.history if (each["op"], each["buyer"]) == (op, buyer))


def forgotten(story: Story) -> None:
    story.forget("bob")


def called_lost(story: Story) -> None:
    story.op("read", "bob", 9_000, ok=False, code="reservation_lost", order=order_id("bob"))


def rejected(story: Story) -> None:
    story.row("bob")["state"] = "rejected"


def called_unknown(story: Story) -> None:
    story.lose_disk(8_000)
    story.op("read", "bob", 9_000, ok=False, code="unknown_order", order=order_id("bob"))


def confirmed_and_not_written(story: Story) -> None:
    story.lose_disk(200)
    story.forget("ann")


def another_quantity(story: Story) -> None:
    line(story, "reserve", "ann")["body"]["quantity"] = 2


def another_price(story: Story) -> None:
    line(story, "reserve", "ann")["body"]["amount_due"]["amount"] = 99


def another_buyer(story: Story) -> None:
    line(story, "read", "ann")["buyer"] = "bob"


def two_orders_of_one_key(story: Story) -> None:
    story.history.append(line(story, "reserve", "cid") | {"order": order_id("ann")})


def another_body(story: Story) -> None:
    again = line(story, "reserve", "cid")
    story.history.append(again | {"args": {"sku": "phone", "quantity": 2}})


def wrongly_called_reused(story: Story) -> None:
    again = line(story, "reserve", "cid")
    refused = {"ok": False, "code": "idempotency_key_reused", "order": None}
    story.history.append(again | refused)


def one_order_of_two_keys(story: Story) -> None:
    story.history.append(line(story, "reserve", "cid") | {"key": "another"})


def refused_and_taken_all_the_same(story: Story) -> None:
    story.op("reserve", "fay", 5_000, ok=False, status=409, code="sold_out", key="fay")
    story.row("bob")["buyer_id"] = "fay"


def more_held_than_there_are(story: Story) -> None:
    for number in range(CAPACITY):
        name = f"more-{number}"
        story.won(name, name, 1_000)
    story.close()


def more_than_the_limit(story: Story) -> None:
    story.won("ann-2", "ann", 1_000, quantity=2)
    story.close()


def refused_after_winning(story: Story) -> None:
    again = {"ok": False, "code": "sold_out", "order": None, "status": 409, "state": None}
    at = {"invoked": BEGUN + 5_000, "returned": BEGUN + 5_010}
    story.history.append(line(story, "reserve", "dora") | again | at)


def gone_back(story: Story) -> None:
    story.op("read", "ann", 500, state="confirmed", order=order_id("ann"))


def cancelled_by_nobody(story: Story) -> None:
    story.history.remove(line(story, "cancel", "bob"))


def paid_by_nobody(story: Story) -> None:
    story.history.remove(line(story, "checkout", "ann"))


def listed_otherwise(story: Story) -> None:
    items = [{"id": order_id("ann"), "state": "confirmed"}]
    story.op("list", "ann", 9_000, body={"items": items})


@pytest.mark.parametrize(
    ("spoil", "invariant", "what"),
    [
        (forgotten, "INV-9", "an answered reservation is nowhere"),
        (called_lost, "INV-9", "a reservation was called lost and no disk was"),
        (rejected, "INV-9", "an order was rejected and no disk was lost"),
        (called_unknown, "INV-9", "a lost order is not told to be lost"),
        (confirmed_and_not_written, "INV-8", "answered confirmed and it is not written"),
        (another_quantity, "INV-8", "an order is not what was answered"),
        (another_price, "INV-8", "an order is not what was answered"),
        (another_buyer, "INV-8", "an order is not what was answered"),
        (two_orders_of_one_key, "INV-10", "one key has several orders"),
        (another_body, "INV-10", "a key was taken again with another body"),
        (wrongly_called_reused, "INV-10", "a repetition was called another request"),
        (one_order_of_two_keys, "INV-10", "one order answers two keys"),
        (
            refused_and_taken_all_the_same,
            "INV-10",
            "a buyer has an order that was refused or never asked",
        ),
        (more_held_than_there_are, "INV-2", f"9 units were held of {CAPACITY}"),
        (more_than_the_limit, "INV-7", "a buyer held 3 of 2"),
        (refused_after_winning, "INV-11", "no order of events explains what was answered"),
        (gone_back, "INV-11", "no order of events explains what was answered"),
        (cancelled_by_nobody, "INV-11", "no order of events explains what was answered"),
        (paid_by_nobody, "INV-11", "no order of events explains what was answered"),
        (listed_otherwise, "INV-11", "no order of events explains what was answered"),
    ],
)
def test_what_is_broken_is_found(
    spoil: Callable[[Story], None], invariant: str, what: str, tmp_path: Path
):
    story = good_story()
    spoil(story)
    assert (invariant, what) in found(story, tmp_path)


def unanswered_and_taken(story: Story) -> None:
    """A time-out is no refusal: it may have taken effect."""
    story.op("reserve", "fay", 5_000, ok=None, status=None, key="fay")
    story.row("bob")["buyer_id"] = "fay"
    record = story.lane["holds"].pop(order_id("bob")[12:])
    story.lane["holds"][order_id("fay")[12:]] = record.replace("bob", "fay")
    story.row("bob")["id"] = order_id("fay")
    story.lane["buyers"]["fay"] = story.lane["buyers"].pop("bob")
    story.history = [each for each in story.history if each["buyer"] != "bob"]


def unanswered_cancellation(story: Story) -> None:
    """It was asked for and never answered, and the order is read as cancelled."""
    line(story, "cancel", "bob").update(ok=None, status=None, state=None)
    story.op("read", "bob", 9_000, state="cancelled", order=order_id("bob"))


def refused_while_winning(story: Story) -> None:
    """A twin was refused before the other one won: they ran at the same time."""
    again = {"ok": False, "code": "sold_out", "order": None, "status": 409, "state": None}
    story.history.append(line(story, "reserve", "dora") | again)


def repeated(story: Story) -> None:
    """Asked again with the same key, late, and answered with what became of it."""
    again = {"invoked": BEGUN + 9_000, "returned": BEGUN + 9_010, "state": "paid"}
    story.history.append(line(story, "reserve", "dora") | again)


def reused_and_refused(story: Story) -> None:
    refused = {"ok": False, "code": "idempotency_key_reused", "order": None, "status": 422}
    body = {"args": {"sku": "phone", "quantity": 2}}
    story.history.append(line(story, "reserve", "cid") | refused | body)


def lost_with_a_disk(story: Story) -> None:
    story.lose_disk(650)
    story.forget("bob")
    story.op("read", "bob", 9_000, ok=False, code="reservation_lost", order=order_id("bob"))


@pytest.mark.parametrize(
    "happen",
    [
        unanswered_and_taken,
        unanswered_cancellation,
        refused_while_winning,
        repeated,
        reused_and_refused,
        lost_with_a_disk,
    ],
)
def test_what_can_have_been_is_left_alone(happen: Callable[[Story], None], tmp_path: Path):
    story = good_story()
    happen(story)
    about_answers = {"INV-2", "INV-7", "INV-8", "INV-9", "INV-10", "INV-11"}
    assert {each for each in found(story, tmp_path) if each[0] in about_answers} == set()


def test_order_and_overlap_decide_what_can_be_explained():
    """The same answers, one after the other and at the same time."""

    def told(state: str | None, invoked: int, returned: float, op: str = "read") -> Step:
        return Step(op, invoked, returned, surely=returned != NEVER, told=state)

    won = told("reserved", 0, 1, "reserve")
    pay = told(None, 2, NEVER, "pay")
    settled, paying = told("confirmed", 5, 8), told("paying", 3, 9)
    assert explainable([won, pay, settled, paying])
    assert explainable([won, told("confirmed", 3, 4)])
    assert not explainable([won, told("paying", 3, 4)])
    assert not explainable([won, told("confirmed", 3, 4), told("reserved", 5, 6)])
    assert explainable([won, told("confirmed", 3, 6), told("reserved", 5, 7)])


def test_a_lost_disk_explains_that_an_order_went_back_only_afterwards():
    won = Step("reserve", 0, 1, surely=True, told="confirmed")
    back = Step("read", 5, 6, surely=True, told="reserved")
    loss = Step("loss", 3, NEVER, surely=False, told=None)
    assert not explainable([won, back])
    assert explainable([won, back, loss])
    assert not explainable([won, back, loss._replace(invoked=7)])
