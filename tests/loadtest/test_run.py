"""A profile through the command, made very short, against an engine of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from flashsale.shipped import shipped


async def run(*arguments: str, cwd: Path) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "loadtest", *arguments),
        cwd=cwd,
        env={"PYTHONPATH": str(shipped("loadtest").parent)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


async def test_a_scaled_launch_runs_checks_and_says_so(tmp_path: Path) -> None:
    code, output = await run(
        *("launch-150k", "--minutes", "0.1", "--results", str(tmp_path)), cwd=tmp_path
    )

    assert code == 0, output
    assert "Scaled down: 1,500 units in 0.1 min instead of 150,000 in 10 min" in output
    [report] = tmp_path.glob("*/report.json")
    measured = json.loads(report.read_text(encoding="utf-8"))
    assert measured["holds"]
    assert {check["name"] for check in measured["checks"]} >= {
        "nothing oversold",
        "no answered order lost",
        "every invariant",
    }
    assert measured["requests"] > 0
    assert measured["offered"] == 19_000
    assert "Scaled down" in report.with_name("report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["launch-150k", "--minutes", "11"], "launch-150k takes between 0 and 10 minutes."),
        (["nope"], "There is no profile 'nope'; there are launch-150k, full-speed."),
    ],
)
async def test_a_profile_that_cannot_be_is_refused(tmp_path: Path, arguments, says) -> None:
    code, output = await run(*arguments, cwd=tmp_path)

    assert (code, output) == (2, f"flashsale: {says}\n")
