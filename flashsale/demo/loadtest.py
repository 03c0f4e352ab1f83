"""The way from the command to the load tests, which ship as a folder and run in their own process.

Importing locust patches the standard library: it must never happen in a process of the engine.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from pathlib import Path

from flashsale.clients import StartError
from flashsale.shipped import shipped


class LocustMissingError(StartError):
    """Locust is not installed; one line that says what to do."""


async def run_profile(
    name: str,
    minutes: float | None = None,
    *,
    data_dir: Path | None = None,
    web_processes: int = 1,
    results: Path | None = None,
) -> int:
    """Run a profile of `loadtest/`: 0 every check holds, 1 one does not, 2 used wrongly.

    Raises LocustMissingError, and FileNotFoundError where the folder is missing.
    """
    if importlib.util.find_spec("locust") is None:
        raise LocustMissingError("Load tests need locust: pip install 'flashsale[load]'.")
    options = {"--minutes": minutes, "--data-dir": data_dir, "--results": results}
    given = [part for name, value in options.items() if value for part in (name, str(value))]
    return await _run("loadtest", name, *given, "--web-processes", str(web_processes))


async def run_bench(*, quick: bool = False) -> int:
    """Run the benchmarks of `loadtest/`; FileNotFoundError where the folder is missing."""
    return await _run("loadtest.bench", *(["--quick"] if quick else []))


async def _run(module: str, *arguments: str) -> int:
    parent = str(shipped("loadtest").parent)
    path = os.pathsep.join(filter(None, (parent, os.environ.get("PYTHONPATH"))))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", module, *arguments, env={**os.environ, "PYTHONPATH": path}
    )
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
