"""Runs a profile: engine, launch, locust in its own process, checks, report. Imports no locust."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

from flashsale.demo.launch import announce
from flashsale.demo.stores import Reading, Stores, Watch, open_stores
from flashsale.demo.verdict import audit
from flashsale.embedded.credentials import Credentials
from flashsale.embedded.errors import CredentialsError
from flashsale.supervisor import engine
from loadtest.checks import check_audit, check_failures, check_orders, check_settled
from loadtest.history import read_ending, read_history
from loadtest.plan import VARIABLE, LocustPlan
from loadtest.profiles import PROFILES, Profile, scaled
from loadtest.report import Result

FOLDER = Path(__file__).resolve().parent
OPENS_IN_SECONDS = 10.0  # locust needs a few to start
HOLD_SECONDS = 7_200
WATCH_SECONDS = 0.25
SETTLE_SECONDS_MAX = 60.0
AFTER_SOLD_OUT_SECONDS = 5.0
STOP_SECONDS = 10


def locust_processes() -> int:
    """Half of the machine's cores: the engine needs the others."""
    return max((os.cpu_count() or 1) // 2, 1)


async def run_profile(
    name: str,
    minutes: float | None = None,
    *,
    data_dir: Path | None = None,
    web_processes: int = 1,
    results: Path | None = None,
) -> int:
    """Run a profile against the engine of `data_dir`, or one of its own; 0 if every check holds.

    Raises ValueError for an unknown profile or length, and the engine's errors, one line each.
    """
    if name not in PROFILES:
        raise ValueError(f"There is no profile {name[:40]!r}; there are {', '.join(PROFILES)}.")
    profile = scaled(PROFILES[name], minutes)
    say(f"{profile.name}: {profile.title}.")
    if profile.reduced:
        say(profile.reduced)
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    folder = (results or _results_folder()) / f"{name}-{stamp}"
    folder.mkdir(parents=True)
    async with _some_engine(data_dir, web_processes) as credentials:
        result = await _hold(profile, minutes, credentials, folder)
    (folder / "report.json").write_text(result.to_json(), encoding="utf-8")
    (folder / "report.html").write_text(result.to_html(), encoding="utf-8")
    for what, how_much in result.rows():
        say(f"  {what}: {how_much}")
    for check in result.checks:
        say(f"{'ok    ' if check.holds else 'FAILED'} {check.name}: {check.found}")
    say(f"Report: {folder / 'report.html'}")
    return 0 if result.holds else 1


def say(line: str) -> None:
    """Tell whoever watches, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _results_folder() -> Path:
    """Beside the profiles in a checkout; in the working folder where they are installed."""
    in_checkout = (FOLDER.parent / "pyproject.toml").is_file()
    return FOLDER / "results" if in_checkout else Path("flashsale-loadtest")


@contextlib.asynccontextmanager
async def _some_engine(data_dir: Path | None, web_processes: int) -> AsyncIterator[Credentials]:
    """The engine that runs on `data_dir`; else one started here, there or in its own folder."""
    if data_dir is not None:
        with contextlib.suppress(CredentialsError, OSError):
            credentials = Credentials.load(data_dir)
            await asyncio.to_thread(_ask_ready, credentials.base_url)
            yield credentials
            return
    folder = data_dir or Path(tempfile.mkdtemp(prefix="flashsale-loadtest-"))
    try:
        async with engine(
            folder,
            host="127.0.0.1",
            port=0,
            web_processes=web_processes,
        ) as running:
            yield running.credentials
    finally:
        if data_dir is None:
            shutil.rmtree(folder, ignore_errors=True)


def _ask_ready(base_url: str) -> None:
    with urllib.request.urlopen(f"{base_url}/readyz", timeout=5):
        pass


async def _hold(
    profile: Profile, minutes: float | None, credentials: Credentials, folder: Path
) -> Result:
    launch = await announce(
        credentials,
        name=f"Load test {profile.name}",
        units=profile.units,
        opens_in_seconds=OPENS_IN_SECONDS,
        # Open until locust has ended: whoever comes last is told "sold out" and not "over".
        lasts_seconds=profile.minutes * 60 + STOP_SECONDS + 60,
        hold_seconds=HOLD_SECONDS,
    )
    plan = LocustPlan(
        profile=profile.name,
        minutes=minutes,
        sale=launch.sale,
        sku=launch.sku,
        starts_at_ms=launch.starts_at_ms,
        merchant_id=launch.merchant_id,
        kid=launch.kid,
        secret=launch.secret,
        results=str(folder),
    )
    async with open_stores(credentials.redis_url, credentials.postgres_dsn) as stores:
        readings = await _watched(profile, plan, credentials.base_url, stores)
        answers = _answers(folder)
        checks = await check_orders(stores.postgres, launch.sale, launch.units, answers)
        checks.append(check_settled(readings[-1].sold, readings[-1].settled))
        ending = read_ending(plan.ending_file)
        checks.append(check_failures(ending))
        verdict = await audit(credentials, launch.sale)
        checks.append(check_audit(verdict))
        return Result(
            profile=profile,
            sale=launch.sale,
            history=read_history(folder / "locust_stats_history.csv", launch.starts_at_ms / 1000),
            ending=ending,
            readings=readings,
            lag_seconds=await stores.settlement_lag(launch.sale),
            checks=checks,
            equations=verdict.equations,
            locust_processes=locust_processes(),
            web_processes=sum(name.startswith("web") for name in credentials.pids),
        )


def _answers(folder: Path) -> list[Path]:
    return sorted(folder.glob("answered-*.txt"))


async def _watched(
    profile: Profile, plan: LocustPlan, base_url: str, stores: Stores
) -> list[Reading]:
    """Run locust to its end, reading the sale meanwhile and until everything is settled."""
    watch = Watch(stores, plan.sale, plan.starts_at_ms)
    readings: list[Reading] = []
    process = await _start_locust(plan, base_url)
    try:
        told = 0.0
        while process.returncode is None:
            readings.append(await watch.read())
            told = _tell(readings[-1], told)
            if profile.ends_when_sold_out and _sold_out_for(readings, profile.units):
                plan.stop_file.touch()
            await asyncio.sleep(WATCH_SECONDS)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
        (Path(plan.results) / "plan.json").unlink()
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    while time.monotonic() < deadline:
        readings.append(await watch.read())
        if readings[-1].settled == readings[-1].sold:
            break
        await asyncio.sleep(WATCH_SECONDS)
    return readings


def _tell(reading: Reading, told: float) -> float:
    """A line of progress every five seconds of the sale."""
    if reading.at < told:
        return told
    say(
        f"{reading.at:6.0f} s  sold {reading.sold:,}  settled {reading.settled:,}"
        f"  lag {reading.lag_seconds:.2f} s"
    )
    return reading.at + 5


def _sold_out_for(readings: list[Reading], units: int) -> bool:
    since = next((reading.at for reading in readings if reading.sold >= units), None)
    return since is not None and readings[-1].at - since >= AFTER_SOLD_OUT_SECONDS


async def _start_locust(plan: LocustPlan, base_url: str) -> asyncio.subprocess.Process:
    folder = Path(plan.results)
    plan.save(folder / "plan.json")
    processes = locust_processes()
    command = [
        *(sys.executable, "-m", "locust", "-f", str(FOLDER / "locustfile.py"), "--headless"),
        *("--host", base_url, "--csv", str(folder / "locust"), "--csv-full-history"),
        *("--only-summary", "--loglevel", "WARNING", "--stop-timeout", str(STOP_SECONDS)),
        *("--logfile", str(folder / "locust.log"), "--exit-code-on-error", "0"),
        *(("--processes", str(processes)) if processes > 1 else ()),
    ]
    environment = {
        **os.environ,
        VARIABLE: str(folder / "plan.json"),
        "PYTHONPATH": os.pathsep.join(
            filter(None, (str(FOLDER.parent), os.environ.get("PYTHONPATH")))
        ),
    }
    with (folder / "locust.out").open("wb") as output:
        return await asyncio.create_subprocess_exec(
            *command, env=environment, cwd=folder, stdout=output, stderr=output
        )
