"""Commands that try the engine out on this machine: a launch, load profiles, benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flashsale.cli.common import WebProcesses, path, run
from flashsale.config import load_settings
from flashsale.demo.demo import UNITS, run_demo
from flashsale.demo.loadtest import run_bench, run_profile


def demo(
    units: Annotated[int, typer.Option(min=1, max=10_000_000, help="Units on sale.")] = UNITS,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave it running and print the URLs.")
    ] = False,
    data_dir: Annotated[
        Path | None,
        typer.Option(parser=path, metavar="PATH", help="Keep the data in this folder."),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(parser=path, metavar="PATH", help="Write the final screen as SVG."),
    ] = None,
    web_processes: WebProcesses = 1,
) -> int:
    """Sell out a launch on this machine, settle and audit it."""
    load_settings()  # what is wrong with them is said before anything is started
    return run(
        run_demo(units, keep=keep, data_dir=data_dir, picture=picture, web_processes=web_processes)
    )


def loadtest(
    profile: Annotated[str, typer.Argument(help="launch-150k or full-speed.")],
    minutes: Annotated[
        float | None, typer.Option(min=0.1, max=60, help="Shorten it; rates stay.")
    ] = None,
    web_processes: WebProcesses = 1,
    data_dir: Annotated[
        Path | None, typer.Option(help="The engine of this folder, started if need be.")
    ] = None,
) -> int:
    """Run a load profile through locust, then check what was sold."""
    load_settings()
    return run(run_profile(profile, minutes, data_dir=data_dir, web_processes=web_processes))


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Under a minute, fewer rounds.")] = False,
) -> int:
    """Measure the engine beside its baselines in one run."""
    load_settings()
    return run(run_bench(quick=quick))
