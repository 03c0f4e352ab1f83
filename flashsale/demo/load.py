"""Runs the load driver in a process of its own and hands on what it reports."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from typing import Any

from flashsale.clients import StartError
from flashsale.demo.plan import Plan
from flashsale.sentences import ended

LINE_BYTES_MAX = 1 << 20
END_SECONDS_MAX = 5.0


class LoadError(StartError):
    """The driver ended without a result; one line that says why."""


async def driven(plan: Plan) -> AsyncGenerator[dict[str, Any], None]:
    """The driver's windows as they end, and last its result. Raises LoadError."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-m", "flashsale.demo.driver"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=LINE_BYTES_MAX,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    complaints = asyncio.create_task(process.stderr.read())
    try:
        # The plan holds a key: by the pipe, and not where `ps` shows it.
        process.stdin.write(plan.to_json().encode() + b"\n")
        process.stdin.close()
        while line := await process.stdout.readline():
            report = json.loads(line)
            if "error" in report:
                raise LoadError(ended(f"The load driver gave up: {report['error']}"))
            yield report
            if "result" in report:
                return
        words = (await complaints).decode(errors="replace").strip().rpartition("\n")[2]
        raise LoadError(ended(f"The load driver ended early: {words or 'it said nothing'}"))
    finally:
        if process.returncode is None:
            await _end(process)
        await complaints


async def _end(process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(END_SECONDS_MAX):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
