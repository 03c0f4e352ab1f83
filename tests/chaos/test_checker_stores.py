"""Every rule about the stores finds what breaks it, and nothing in a run where nothing is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.checker import judge, verdict
from tests.chaos.checker_story import BEGUN, CAPACITY, SALE, Story, good_story, iso, order_id


def hash_of(name: str) -> str:
    return order_id(name)[len(SALE) :]


def found(story: Story, folder: Path) -> set[tuple[str, str]]:
    return {(broken.invariant, broken.what) for broken in judge(story.run(folder))}


def test_nothing_is_wrong_with_a_good_run(tmp_path: Path):
    judged = verdict(good_story().run(tmp_path))
    assert (judged["holds"], judged["broken"]) == (True, [])
    assert judged["sometimes"]["expiries"] == 2
    assert judged["sometimes"]["late_payments"] == 1


def one_unit_too_many(story: Story) -> None:
    story.lane["stock"]["available:0"] += 1


def counted_as_held(story: Story) -> None:
    story.lane["stock"]["held:0"] += 1
    story.lane["stock"]["available:0"] -= 1


def negative(story: Story) -> None:
    story.lane["stock"]["available:0"] -= CAPACITY
    story.lane["stock"]["capacity:0"] -= CAPACITY


def more_live_than_exist(story: Story) -> None:
    story.row("ann")["quantity"] = CAPACITY + 1


def counted_twice(story: Story) -> None:
    story.postgres["sale_items"][0]["live"] += 1


def another_capacity(story: Story) -> None:
    story.postgres["sale_items"][0]["capacity"] += 1


def another_state(story: Story) -> None:
    story.row("bob")["state"] = "expired"


def older(story: Story) -> None:
    story.row("ann")["version"] = 2


def not_in_redis(story: Story) -> None:
    del story.lane["holds"][hash_of("bob")]


def not_in_postgres(story: Story) -> None:
    story.postgres["orders"].remove(story.row("bob"))


def unsettled(story: Story) -> None:
    story.lane["stream"]["groups"][0]["pending"] = 1


def above_the_limit(story: Story) -> None:
    story.lane["meta"]["buyer_limit"] = "0"


def wrong_count(story: Story) -> None:
    story.lane["buyers"]["bob"] = 2


def overdue(story: Story) -> None:
    story.lane["deadlines"][hash_of("cid")] = BEGUN + 3_705


def never_ending(story: Story) -> None:
    story.lane["holds"][hash_of("cid")] = f"R:1:0:1:{BEGUN + 3_705}:cid"


def expired_early(story: Story) -> None:
    story.row("cid")["decided_at"] = iso(BEGUN + 3_000)


def not_quiet(story: Story) -> None:
    story.facts["quiescence"] = {"reached": False, "missing": {"outbox": 1}}


def nowhere(story: Story) -> None:
    story.lane["meta"]["seq"] = "99"


def passed_over(story: Story) -> None:
    story.postgres["lanes"][0]["settled"] = f"{{[1,3),[4,{len(story.entries) + 1})}}"


def settled_ahead(story: Story) -> None:
    story.postgres["lanes"][0]["settled"] = "{[1,99)}"


def lost_without_a_reason(story: Story) -> None:
    story.postgres["lanes"][0]["lost"] = "{[2,3)}"


def an_entry_is_missing(story: Story) -> None:
    del story.lane["stream"]["entries"][3]
    story.postgres["lanes"][0]["settled"] = f"{{[1,4),[5,{len(story.entries) + 2})}}"


def a_number_twice(story: Story) -> None:
    story.entries[3]["fields"]["seq"] = "3"


def an_ended_epoch(story: Story) -> None:
    story.entries[2]["fields"]["epoch"] = "2"


def stock_without_an_event(story: Story) -> None:
    story.entries[3]["fields"]["available"] = "0"


def sold_out_of_nothing(story: Story) -> None:
    story.entries[3]["fields"]["available"] = "-1"


def told_twice(story: Story) -> None:
    story.entries[3]["fields"]["events"] = story.entries[2]["fields"]["events"]


def an_illegal_step(story: Story) -> None:
    fields = story.entries[-1]["fields"]
    fields["events"] = fields["events"].replace("S\t", "F\t")


def a_step_left_out(story: Story) -> None:
    fields = story.entries[-1]["fields"]
    fields["events"] = fields["events"].replace("S\t4", "S\t5")


def ran_out_early(story: Story) -> None:
    fields = next(e["fields"] for e in story.entries if e["fields"]["events"].startswith("X"))
    fields["at_ms"] = str(BEGUN + 3_000)


def sold_while_paused(story: Story) -> None:
    fields = story.entries[3]["fields"]
    fields["events"] += "\npause\t"


def sold_after_the_end(story: Story) -> None:
    story.entries[0]["fields"]["events"] = f"open\t{BEGUN}-{BEGUN + 850}"


@pytest.mark.parametrize(
    ("spoil", "invariant", "what"),
    [
        (one_unit_too_many, "INV-1", "A + H + Y + S is not C"),
        (counted_as_held, "INV-1", "held is not what the records say"),
        (negative, "INV-1", "A + H + Y + S is not C"),
        (more_live_than_exist, "INV-2", "more units are live than exist"),
        (counted_twice, "INV-6", "live units were not counted once"),
        (another_capacity, "INV-4", "the stores disagree about a capacity"),
        (another_state, "INV-4", "the stores disagree about an order's state"),
        (older, "INV-4", "the stores disagree about an order's version"),
        (not_in_redis, "INV-4", "an order is not in Redis"),
        (not_in_postgres, "INV-4", "an order is not in Postgres"),
        (unsettled, "INV-4", "events are left unsettled"),
        (above_the_limit, "INV-7", "a buyer has more than 0"),
        (wrong_count, "INV-7", "a buyer's units are counted wrong"),
        (overdue, "INV-18", "holds are overdue"),
        (overdue, "INV-5", "a deadline is left of a hold that ended"),
        (never_ending, "INV-18", "a hold has no deadline and will never end"),
        (expired_early, "INV-5", "an order ran out before its time"),
        (not_quiet, "INV-18", "it did not come to rest in time"),
        (nowhere, "INV-15", "entries are nowhere"),
        (passed_over, "INV-15", "entries were passed over"),
        (settled_ahead, "INV-15", "entries were settled that Redis has not"),
        (lost_without_a_reason, "INV-9", "entries were lost with no disk"),
        (an_entry_is_missing, "INV-3", "an entry is missing between two others"),
        (a_number_twice, "INV-15", "an entry number was given twice"),
        (an_ended_epoch, "INV-3", "a command of an epoch that had ended took effect"),
        (sold_out_of_nothing, "INV-1", "less than nothing was for sale"),
        (stock_without_an_event, "INV-3", "stock changed by more or less than its events"),
        (told_twice, "INV-5", "an order's change was told twice"),
        (an_illegal_step, "INV-11", "an order took a step that is not legal"),
        (a_step_left_out, "INV-3", "an order changed without an event"),
        (ran_out_early, "INV-5", "a hold ran out before its time"),
        (sold_while_paused, "INV-13", "accepted while paused"),
        (sold_after_the_end, "INV-13", "accepted outside of the window"),
    ],
)
def test_what_is_broken_is_found(
    spoil: Callable[[Story], None], invariant: str, what: str, tmp_path: Path
):
    story = good_story()
    spoil(story)
    assert (invariant, what) in found(story, tmp_path)


def test_units_of_a_dead_letter_are_not_held_against_anybody(tmp_path: Path):
    """The stores differ about them until a person has looked: INV-15 says so."""
    story = good_story()
    story.postgres["orders"].remove(story.row("bob"))
    named = [e for e in story.entries if hash_of("bob") in e["fields"]["events"]]
    story.postgres["dead_letters"] = [
        {"sale_id": SALE, "lane": 0, "seq": int(each["fields"]["seq"]), "fields": each["fields"]}
        for each in named
    ]
    assert found(story, tmp_path) == set()


def test_what_a_trimmed_stream_cannot_show_is_not_held_against_it(tmp_path: Path):
    story = good_story()
    del story.lane["stream"]["entries"][:12]
    assert found(story, tmp_path) == set()


def test_entries_that_a_lost_disk_took_are_accounted_for(tmp_path: Path):
    story = good_story()
    story.lose_disk(50)
    story.postgres["lanes"][0]["lost"] = "{[2,3)}"
    assert found(story, tmp_path) == set()
