"""Pauses, ends and waves: what clients saw is enough to tell that one was not kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.checker import judge
from tests.chaos.checker_story import BEGUN, SALE, Story, good_story, iso


def found(story: Story, folder: Path) -> set[tuple[str, str]]:
    return {(broken.invariant, broken.what) for broken in judge(story.run(folder))}


def act(story: Story, op: str, at_ms: int, **more: Any) -> None:
    story.op(op, "", at_ms, args={"sale": SALE}, **more)


def refused(story: Story, code: str, at_ms: int) -> None:
    story.op("reserve", "zoe", at_ms, ok=False, status=503, code=code, key=f"zoe-{at_ms}")


def supply(story: Story, at_ms: int, **row: Any) -> dict[str, Any]:
    """A wave that was answered and counted, and its event."""
    name, quantity = "sup_third", 4
    args = {"sale": SALE, "sku": "phone", "quantity": quantity, "at": iso(BEGUN + at_ms)}
    story.op("supply", "", 100, args=args, body={"id": name})
    kept = {"id": name, "sale_id": SALE, "item": 0, "quantity": quantity, "state": "applied"}
    kept |= {"at": iso(BEGUN + at_ms)} | row
    story.available += quantity
    story.entry([f"supply\t{name} 0 {quantity}"], at_ms + 5)
    story.close()
    story.lane["stock"]["capacity:0"] += quantity
    story.postgres["sale_items"][0]["capacity"] += quantity
    story.postgres["supplies"].append(kept)
    return kept


def given_after_a_pause(story: Story) -> None:
    act(story, "pause", 10)


def given_after_the_end(story: Story) -> None:
    act(story, "close", 10)
    act(story, "resume", 40)


def given_before_the_resumption(story: Story) -> None:
    act(story, "pause", 10)
    act(story, "resume", 1_500)


def given_after_the_second_pause(story: Story) -> None:
    for op, at_ms in (("pause", 10), ("resume", 30), ("pause", 60)):
        act(story, op, at_ms)


def called_paused(story: Story) -> None:
    refused(story, "paused", 5_000)


def called_paused_after_the_resumption(story: Story) -> None:
    act(story, "pause", 5_000)
    act(story, "resume", 5_100)
    refused(story, "paused", 5_200)


def called_over(story: Story) -> None:
    refused(story, "sale_over", 5_000)


def another_state(story: Story) -> None:
    story.lane["meta"]["state"] = "paused"


def opened_again(story: Story) -> None:
    act(story, "close", 9_000)


def an_answered_supply_is_gone(story: Story) -> None:
    supply(story, 5_000)
    story.postgres["supplies"].clear()


def counted_for_nothing(story: Story) -> None:
    supply(story, 5_000)["state"] = "refused"


def too_early(story: Story) -> None:
    supply(story, 5_000)
    story.history[-1]["args"]["at"] = iso(BEGUN + 6_000)


def told_twice(story: Story) -> None:
    supply(story, 5_000)
    story.available += 4
    story.entry(["supply\tsup_third 0 4"], 5_500)
    kept, items = story.postgres["supplies"], story.postgres["sale_items"]
    story.close()
    story.postgres |= {"supplies": kept, "sale_items": items}


def too_late(story: Story) -> None:
    supply(story, 5_000)["state"] = "pending"


@pytest.mark.parametrize(
    ("spoil", "invariant", "what"),
    [
        (given_after_a_pause, "INV-13", "a unit was given away after a pause"),
        (given_after_the_end, "INV-13", "a unit was given away after a close"),
        (given_before_the_resumption, "INV-13", "a unit was given away after a pause"),
        (given_after_the_second_pause, "INV-13", "a unit was given away after a pause"),
        (called_paused, "INV-13", "told paused by a sale that was not"),
        (called_paused_after_the_resumption, "INV-13", "told paused by a sale that was not"),
        (called_over, "INV-13", "told sale_over by a sale that was not"),
        (another_state, "INV-4", "the stores disagree about a sale's state"),
        (opened_again, "INV-9", "a sale was closed and is not"),
        (an_answered_supply_is_gone, "INV-9", "an answered supply is not there as it was asked"),
        (counted_for_nothing, "INV-2", "a capacity is not what was supplied"),
        (too_early, "INV-13", "a wave came before its time"),
        (told_twice, "INV-3", "a supply was told more than once"),
        (too_late, "INV-18", "a supply is overdue"),
    ],
)
def test_what_is_broken_is_found(
    spoil: Callable[[Story], None], invariant: str, what: str, tmp_path: Path
):
    story = good_story()
    spoil(story)
    assert (invariant, what) in found(story, tmp_path)


def nobody_knows_of_the_pause(story: Story) -> None:
    act(story, "pause", 10, ok=None, status=None)


def the_pause_was_refused(story: Story) -> None:
    act(story, "pause", 10, ok=False, status=409)


def asked_while_it_was_paused(story: Story) -> None:
    act(story, "pause", 60, returned=BEGUN + 1_200)


def resumed_meanwhile(story: Story) -> None:
    """The resumption was called before the first unit was given, and answered much later."""
    act(story, "pause", 10)
    act(story, "resume", 40, returned=BEGUN + 9_000)


def an_old_resumption_came_late(story: Story) -> None:
    act(story, "resume", 0, ok=None, status=None)
    act(story, "pause", 30)


def the_pause_was_lost_with_a_disk(story: Story) -> None:
    act(story, "pause", 10)
    story.lose_disk(40)


def told_while_it_was_paused(story: Story) -> None:
    act(story, "pause", 5_000)
    refused(story, "paused", 5_100)
    act(story, "resume", 5_200)


def told_after_a_resumption_that_nobody_answered(story: Story) -> None:
    act(story, "pause", 5_000)
    act(story, "resume", 5_100, ok=None, status=None)
    refused(story, "paused", 5_200)


def told_after_the_end(story: Story) -> None:
    act(story, "close", 5_000)
    refused(story, "sale_over", 5_100)
    story.lane["meta"]["state"] = story.postgres["sales"][0]["state"] = "closed"


def a_wave_in_time(story: Story) -> None:
    supply(story, 5_000)


@pytest.mark.parametrize(
    "happen",
    [
        nobody_knows_of_the_pause,
        the_pause_was_refused,
        asked_while_it_was_paused,
        resumed_meanwhile,
        an_old_resumption_came_late,
        the_pause_was_lost_with_a_disk,
        told_while_it_was_paused,
        told_after_a_resumption_that_nobody_answered,
        told_after_the_end,
        a_wave_in_time,
    ],
)
def test_what_can_have_been_is_left_alone(happen: Callable[[Story], None], tmp_path: Path):
    story = good_story()
    happen(story)
    assert found(story, tmp_path) == set()


def test_a_pause_in_a_part_of_the_stream_that_is_gone_is_not_held_against_it(tmp_path: Path):
    """What followed the pause was trimmed, the resumption perhaps among it."""
    story = good_story()
    lines = story.lane["stream"]["entries"]
    lines[0]["fields"]["events"] += "\npause\t"
    del lines[1:3]
    assert found(story, tmp_path) == set()
