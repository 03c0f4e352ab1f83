"""What is published is what was found, the broken and the broken off as well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from tests.chaos import publish, session
from tests.chaos.checker import check
from tests.chaos.checker_story import good_story
from tests.chaos.planted import BUGS
from tests.chaos.planting import TRIES_MAX, Planting
from tests.chaos.publish import Publication, row_of
from tests.chaos.run import Plan
from tests.chaos.session import Options, Outcome, Session

FAULT = {"fault": "crash_at", "args": {}, "at_ms": 1, "note": ""}
MONEY = {"event_id": "evt", "kind": "captured", "amount": 1, "payment_id": "pay-x"}


def options(publication: Publication, **more: Any) -> Options:
    given = {"seeds": 1, "seed": 1, "seconds": 1, "clients": 1, "only": (), "planted": None}
    given |= {"out": publication.folder / "out", "shrink": False, "publication": publication}
    return Options(**(given | more))


def outcome(folder: Path, seed: int, *, spoiled: bool = False) -> Outcome:
    """A run that was judged by the checker itself."""
    story = good_story()
    if spoiled:
        story.provider.append(MONEY)
    folder.mkdir()
    story.run(folder)
    judged = check(folder)
    broken = tuple(sorted({each["invariant"] for each in judged["broken"]}))
    about = {"seed": seed, "seconds": 60, "quiescence": {"took_ms": 1_234, "reached": True}}
    about |= {"schedule": [FAULT | {"struck": True}, FAULT | {"struck": False}]}
    return Outcome(f"seed-{seed}", folder, broken, judged["sometimes"], about, judged)


def published(publication: Publication) -> tuple[str, dict[str, Any]]:
    folder = publication.folder
    return (folder / "chaos.md").read_text(), json.loads((folder / "chaos.json").read_text())


def test_a_run_that_holds_and_one_that_does_not(tmp_path: Path):
    publication = Publication("make chaos", tmp_path)
    good, bad = outcome(tmp_path / "1", 1), outcome(tmp_path / "2", 2, spoiled=True)
    Session(options(publication, seeds=2))._publish([good, bad])
    text, kept = published(publication)
    assert "**1 of 2 runs hold.**" in text
    assert "Broken off" not in text
    assert "- INV-12: money moved for a payment that nobody knows" in text
    assert "Never happened, and so not shown: reclaims, dead_letters, recoveries." in text
    assert [row["broken"] for row in kept["seeds"]["seeds"]] == [[], list(bad.broken)]
    assert "| crash_at | 4 | 2 | 2 |" in text
    assert "| checkout | 4 | 0 | 2 |" in text
    assert ET.parse(tmp_path / "chaos.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_a_command_that_is_broken_off_says_so(tmp_path: Path):
    publication = Publication("make chaos", tmp_path)
    Session(options(publication, seeds=20))._publish([outcome(tmp_path / "1", 1)])
    assert "**Broken off** after 1 of 20." in published(publication)[0]


async def test_a_run_that_does_not_come_about_is_no_run_that_holds(tmp_path: Path, monkeypatch):
    async def run(*_: Any) -> dict[str, Any]:
        raise RuntimeError("the engine does not start")

    monkeypatch.setattr(session, "run", run)
    publication = Publication("make chaos", tmp_path)
    assert await Session(options(publication)).run() == 1
    text, _ = published(publication)
    assert "**0 of 1 runs hold.**" in text
    assert "RuntimeError: the engine does not start" in text


async def test_each_part_leaves_the_other_alone(tmp_path: Path):
    publication = Publication("make chaos", tmp_path)
    Session(options(publication))._publish([outcome(tmp_path / "1", 1)])
    seen = []

    async def one(plan: Plan, folder: Path) -> Outcome:
        seen.append(plan.planted)
        caught = () if plan.planted == "skip_limit_check" else sorted(BUGS[plan.planted].breaks)
        return Outcome("planted", folder, tuple(caught), {}, {})

    assert await Planting(options(publication, planted="all"), one).run() == 1
    text, kept = published(publication)
    assert "**1 of 1 runs hold.**" in text
    assert f"**{len(BUGS) - 1} of {len(BUGS)} were caught.** Not caught: skip_limit_check." in text
    assert seen.count("skip_limit_check") == TRIES_MAX
    Session(options(publication))._publish([outcome(tmp_path / "2", 2)])
    assert published(publication)[1]["planted"] == kept["planted"]


def test_a_picture_that_is_too_large_is_left_out(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(publish, "_PICTURE_BYTES_MAX", 10)
    publication = Publication("make chaos", tmp_path)
    Session(options(publication))._publish([outcome(tmp_path / "1", 1)])
    assert not (tmp_path / "chaos.svg").exists()
    assert "chaos.svg" not in published(publication)[0]


def test_a_row_without_a_verdict_is_a_row():
    about = {"seed": 1, "seconds": 1, "schedule": [], "quiescence": {"took_ms": 0}}
    assert row_of(about, ("no verdict",), {})["broken"] == ["no verdict"]
