"""The whole product once: engine, launch, load, settlement, audit, proof."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from flashsale.demo.demo import run_demo


async def test_a_small_launch_is_held_from_start_to_verdict(tmp_path: Path) -> None:
    screen = io.StringIO()
    picture = tmp_path / "picture.svg"

    code = await run_demo(
        2_000, data_dir=tmp_path / "data", picture=picture, console=Console(file=screen, width=100)
    )

    text = screen.getvalue()
    assert code == 0, text
    assert "2,000 of 2,000" in text
    assert "✓ All 2,000 orders answered are in Postgres, and no others." in text
    [report] = (tmp_path / "data" / "reports").glob("*.json")
    assert str(report.with_suffix(".html")) in text.replace("\n", "")
    measured = json.loads(report.read_text(encoding="utf-8"))
    assert measured["failures"] == []
    assert measured["reserved"] == 2_000
    assert measured["load"]["counts"]["order"] == {"reserved": 2_000}
    assert measured["load"]["faults"]["dropped"] > 0
    assert measured["readings"][-1]["settled"] == 2_000
    answered = report.with_name(f"{measured['sale']}-answered.txt").read_text(encoding="ascii")
    assert len(set(answered.split())) == 2_000
    assert picture.read_text(encoding="utf-8").startswith("<svg")
