"""The picture of a run shows what happened, when, and needs nothing but itself."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.chaos.checker import check
from tests.chaos.checker_story import BEGUN, good_story
from tests.chaos.timeline import Span, draw, gates, lives, outcome_of, timeline, words


def spoiled(folder: Path):
    """A run with a fault, a closed gate, a recovery and a process that died."""
    story = good_story()
    story.lose_disk(5_000)
    for number in range(4):
        story.op("read", "<ann>", 5_100 + number * 50, ok=None, status=503, code="recovering")
    row = {"sale_id": "s", "epoch": 2, "step": "opened", "reason": "<Redis> went back"}
    row |= {"started_at": "2001-09-09T01:46:45.2Z", "opened_at": "2001-09-09T01:46:45.7Z"}
    story.postgres["recoveries"] = [row]
    told = [(-100, "up"), (5_000, "down"), (5_400, "up")]
    story.facts["processes"] = [
        {"name": "redis", "at_ms": BEGUN + at_ms, "what": what} for at_ms, what in told
    ]
    return story.run(folder)


def test_it_shows_faults_gates_recoveries_and_lives(tmp_path: Path):
    shown = timeline(spoiled(tmp_path))
    assert [(span.begins, span.ends, span.what) for span in shown.faults] == [
        (5_000, 5_005, "empty_redis")
    ]
    assert [(span.begins, span.ends) for span in shown.gate] == [(5_110, 5_260)]
    assert [(span.begins, span.ends) for span in shown.recoveries] == [(5_200, 5_700)]
    assert [span[:2] for span in shown.lives["redis"]] == [(0, 5_000), (5_400, 60_000)]
    assert shown.outcomes[5] == {"gate": 4}


def test_the_page_is_whole_and_fetches_and_runs_nothing(tmp_path: Path):
    spoiled(tmp_path)
    check(tmp_path)
    draw(tmp_path)
    page = (tmp_path / "timeline.html").read_text()
    drawings = re.findall(r"<svg viewBox.*?</svg>", page, re.DOTALL)
    assert len(drawings) == 1
    ET.fromstring(drawings[0])
    assert not re.search(r"<script|https?://|@import|<link|<img", page)
    assert "Everything holds." in page
    assert "empty_redis" in page
    assert "&lt;Redis&gt; went back" in page


def test_the_words_say_the_same_in_order_of_time(tmp_path: Path):
    lines = words(timeline(spoiled(tmp_path), {"holds": False})).splitlines()
    assert lines[0].endswith("BROKEN")
    assert [line.split()[4] for line in lines[1:4]] == ["fault", "gate", "recovery"]
    assert "redis          started 2 times, up 59.6 s" in lines


def test_few_refusals_are_no_closed_gate():
    assert gates([1, 2]) == []
    assert gates([1, 2, 3, 1_000, 1_001, 1_002]) == [
        Span(1, 3, "503", "3 answers"),
        Span(1_000, 1_002, "503", "3 answers"),
    ]


def test_a_process_that_still_runs_ran_to_the_end():
    told = [{"name": "web-1", "at_ms": 100, "what": "up"}]
    assert lives(told, 100, 900) == {"web-1": [Span(0, 800, "web-1")]}


def test_answers_are_told_apart():
    ways = [outcome_of(*each) for each in ((True, 201), (False, 409), (None, 503), (None, None))]
    assert ways == ["yes", "refused", "gate", "unknown"]
