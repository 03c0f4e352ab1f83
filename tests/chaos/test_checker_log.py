"""A chain of hashes that is not one is found, wherever it was tampered with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.checker import judge
from tests.chaos.checker_story import Story, good_story


def _again(story: Story, seq: int, before: str, after: str) -> None:
    """Change an entry's text, and its hash so that it fits."""
    row = story.postgres["audit_log"][seq - 1]
    assert before in row["entry"]
    row["entry"] = row["entry"].replace(before, after)
    row["hash"] = hashlib.sha256(row["entry"].encode()).hexdigest()


def one_is_missing(story: Story) -> None:
    del story.postgres["audit_log"][1]


def the_newest_is_missing(story: Story) -> None:
    del story.postgres["audit_log"][2]


def all_are_missing(story: Story) -> None:
    story.postgres["audit_log"].clear()


def the_text_was_changed(story: Story) -> None:
    row = story.postgres["audit_log"][1]
    row["entry"] = row["entry"].replace("sup_second", "sup_secret")


def text_and_hash_were_changed(story: Story) -> None:
    _again(story, 2, "sup_second", "sup_secret")


def another_merchants(story: Story) -> None:
    _again(story, 2, '"acme"', '"else"')


def without_a_head(story: Story) -> None:
    story.postgres["audit_heads"].clear()


def not_logged(story: Story) -> None:
    story.op("supply", "", 9_000, body={"id": "sup_unheard"})


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (one_is_missing, "an entry of the audit log is missing"),
        (the_newest_is_missing, "the audit log does not end where it should"),
        (all_are_missing, "the audit log does not end where it should"),
        (the_text_was_changed, "an entry of the audit log was changed"),
        (text_and_hash_were_changed, "an entry does not follow the one before it"),
        (another_merchants, "an entry of the audit log stands in another's place"),
        (without_a_head, "the audit log does not end where it should"),
        (not_logged, "a supply stands not once in the audit log"),
    ],
)
def test_what_is_broken_is_found(spoil: Callable[[Story], None], what: str, tmp_path: Path):
    story = good_story()
    spoil(story)
    assert ("INV-17", what) in {(each.invariant, each.what) for each in judge(story.run(tmp_path))}


def test_a_supply_that_nobody_answered_may_be_in_the_log_or_not(tmp_path: Path):
    story = good_story()
    story.op("supply", "", 9_000, ok=None, status=None)
    assert judge(story.run(tmp_path)) == []
