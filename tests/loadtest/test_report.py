from __future__ import annotations

import json
import re
from html.parser import HTMLParser

from flashsale.demo.stores import Reading
from loadtest.checks import Check
from loadtest.history import Ending, History
from loadtest.profiles import PROFILES, scaled
from loadtest.report import Result


def result(*checks: Check, minutes: float | None = 1) -> Result:
    return Result(
        profile=scaled(PROFILES["launch-150k"], minutes),
        sale="abcdefghijkl",
        history=History(
            achieved=[(0.0, 4900.0), (1.0, 2500.0)],
            orders=[(0.0, 490.0), (1.0, 250.0)],
            latencies={"50%": [(0.0, 3.0)], "99%": [(0.0, 9.0)]},
        ),
        ending=Ending(
            151_000, {"order": {"requests": 15_000, "p50_ms": 3, "p99_ms": 9}}, failures=[]
        ),
        readings=[Reading(0.0, 0, 0, 0.0), Reading(60.0, 15_000, 15_000, 0.1)],
        lag_seconds=(0.05, 0.2, 0.4),
        checks=checks,
        equations=[("INV-2: live units in Postgres <= capacity", "15,000 | 15,000")],
        locust_processes=1,
        web_processes=1,
    )


class Words(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.feed(text)

    def handle_data(self, data: str) -> None:
        self.seen.append(data)


def test_the_page_needs_nothing_else_and_says_what_was_reduced() -> None:
    text = result(Check("nothing oversold", holds=True, found="15,000 of 15,000")).to_html()

    assert not re.search(r"(src|href)=|@import|url\(", text)
    assert text.count("<polyline") == 2 + 3 + 2 + 1
    words = " ".join(Words(text).seen)
    assert "15,000 units in 1 min instead of 150,000 in 10 min" in words
    assert "offered" in words
    assert "nothing oversold: 15,000 of 15,000" in words


def test_the_full_profile_claims_no_reduction() -> None:
    assert "Scaled down" not in result(minutes=None).to_html()


def test_one_failed_check_fails_the_run() -> None:
    good, bad = Check("a", holds=True, found=""), Check("b <script>", holds=False, found="3 lost")

    assert result(good).holds
    failing = result(good, bad)
    assert not failing.holds
    assert json.loads(failing.to_json())["holds"] is False
    assert "<script>" not in failing.to_html()


def test_offered_stands_beside_achieved() -> None:
    rows = dict(result().rows())

    assert rows["Requests offered"] == "154,000"
    assert rows["Answered of offered"] == "98.1%"
