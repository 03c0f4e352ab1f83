"""`flashsale demo`: a launch sold out, settled and audited. Never passes what it cannot prove."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import tempfile
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from flashsale.demo.crowd import Mix
from flashsale.demo.launch import Launch, announce, crowd_plan
from flashsale.demo.load import driven
from flashsale.demo.outcome import Outcome
from flashsale.demo.plan import Plan
from flashsale.demo.proof import prove
from flashsale.demo.screen import Scene, make_room_for, save_picture, summary
from flashsale.demo.stores import Reading, Stores, Watch, open_stores
from flashsale.demo.verdict import audit
from flashsale.embedded.credentials import FILE_NAME, Credentials
from flashsale.supervisor import engine

UNITS = 150_000
OPENS_IN_SECONDS = 1.5
#: A hold must not end while the demo looks at it, nor the sale while a slow machine sells.
HOLD_SECONDS = 3_600
SALE_SECONDS = 1_800
WATCH_SECONDS = 0.1
SETTLE_SECONDS_MAX = 60.0
LOSERS_SHARE = 0.1


async def run_demo(
    units: int = UNITS,
    *,
    keep: bool = False,
    data_dir: Path | None = None,
    picture: Path | None = None,
    web_processes: int = 1,
    host: str = "127.0.0.1",
    port: int = 0,
    console: Console | None = None,
) -> int:
    """Hold a launch of `units` on this machine; 0 only if it sold out and nothing was lost.

    With `keep` the engine stays up until cancelled. `port` 0 takes a free one. Without `data_dir`
    the stores live in a temporary folder, of which only the report remains. Raises EmbeddedError,
    MigrationError, LaunchError or LoadError, one line each.
    """
    console = console or Console()
    if picture is not None:  # what is wrong with it is said before anything is sold
        make_room_for(picture)
    folder = data_dir or Path(tempfile.mkdtemp(prefix="flashsale-demo-"))
    scene = Scene(units)
    try:
        with Live(scene, console=console, refresh_per_second=8) as live:
            async with engine(
                folder, host=host, port=port, web_processes=web_processes, play_money=False
            ) as started:
                outcome = await hold_launch(started.credentials, folder, scene, web_processes)
                live.stop()
                if not console.is_terminal:
                    console.line()
                console.print(summary(outcome))
                console.print(f"Report: {save_report(folder, outcome)}")
                if picture is not None:
                    save_picture(picture, scene, outcome)
                if keep:
                    await _stay(console, started.credentials, folder)
    finally:
        if data_dir is None:
            _keep_only_reports(folder)
    return 1 if outcome.failures else 0


async def hold_launch(
    credentials: Credentials, folder: Path, scene: Scene, web_processes: int = 1
) -> Outcome:
    """Announce, sell out, settle and audit a launch of `scene.units` on a running engine."""
    scene.stage = "announcing the launch"
    launch = await announce(
        credentials,
        name=f"Launch of {scene.units:,}",
        units=scene.units,
        opens_in_seconds=OPENS_IN_SECONDS,
        lasts_seconds=SALE_SECONDS,
        hold_seconds=HOLD_SECONDS,
    )
    async with open_stores(credentials.redis_url, credentials.postgres_dsn) as stores:
        show = _Show(launch, stores, scene)
        watching = asyncio.create_task(show.watch())
        try:
            answers = _reports_folder(folder) / f"{launch.sale}-answered.txt"
            mix = Mix(losers=int(launch.units * LOSERS_SHARE))
            load = await show.drive(crowd_plan(credentials, launch, answers, mix))
            scene.stage = "sold out; settling"
            settled_seconds = await show.settled(watching)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        scene.stage = "auditing"
        verdict = await audit(credentials, launch.sale)
        outcome = Outcome(
            sale=launch.sale,
            units=launch.units,
            web_processes=web_processes,
            load=load,
            windows=show.windows,
            readings=show.readings,
            settled_seconds=settled_seconds,
            lag_seconds=await stores.settlement_lag(launch.sale),
            redis_bytes=await stores.redis_bytes(),
            proof=await prove(stores.postgres, launch.sale, [answers]),
            verdict=verdict,
        )
    scene.stage = "failed" if outcome.failures else "done"
    return outcome


@dataclass(slots=True)
class _Show:
    """One launch while it runs: moves the scene and remembers what it saw."""

    launch: Launch
    stores: Stores
    scene: Scene
    readings: list[Reading] = field(default_factory=list)
    windows: list[dict[str, Any]] = field(default_factory=list)
    complete: asyncio.Event = field(default_factory=asyncio.Event)
    target: int | None = None

    async def watch(self) -> None:
        """Read the stores until cancelled; says so once everything sold is settled."""
        watch = Watch(self.stores, self.launch.sale, self.launch.starts_at_ms)
        while True:
            reading = await watch.read()
            self.readings.append(reading)
            self.scene.sold, self.scene.settled = reading.sold, reading.settled
            self.scene.lag_seconds = reading.lag_seconds
            if not self.complete.is_set():
                self.scene.seconds = max(reading.at, 0.0)
            if self.target is not None and reading.settled >= self.target:
                self.complete.set()
            await asyncio.sleep(WATCH_SECONDS)

    async def drive(self, plan: Plan) -> dict[str, Any]:
        """Send the crowd; its result."""
        self.scene.stage = "the doors open"
        async with aclosing(driven(plan)) as reports:
            async for report in reports:
                if "result" in report:
                    self.target = int(report["reserved"])
                    return report
                self._take_in(report)
        raise AssertionError("the driver always ends with a result or an error")

    def _take_in(self, window: dict[str, Any]) -> None:
        before = self.windows[-1]["at"] if self.windows else window["at"] - 0.25
        self.windows.append(window)
        counts, scene = window["counts"], self.scene
        reserved = counts.get("order", {}).get("reserved", 0)
        if reserved:
            scene.rates.append(reserved / max(window["at"] - before, 0.001))
        scene.answered += sum(sum(kind.values()) for kind in counts.values())
        scene.refused += sum(counts.get("refused", {}).values())
        if window["order_latency"]["count"]:
            scene.p50_ms = window["order_latency"]["p50_ms"]
            scene.p99_ms = window["order_latency"]["p99_ms"]
            scene.stage = "selling"

    async def settled(self, watching: asyncio.Task[None]) -> float | None:
        """Seconds from the opening until Postgres had everything; None where it takes too long.

        Raises what ended `watching`, should it have ended.
        """
        complete = asyncio.create_task(self.complete.wait())
        done, _ = await asyncio.wait(
            {complete, watching}, timeout=SETTLE_SECONDS_MAX, return_when=asyncio.FIRST_COMPLETED
        )
        complete.cancel()
        if watching in done:
            await watching
        if complete not in done:
            return None
        assert self.target is not None
        return next(each.at for each in self.readings if each.settled >= self.target)


def save_report(folder: Path, outcome: Outcome) -> Path:
    """Write JSON and HTML; the path of the HTML."""
    reports = _reports_folder(folder)
    (reports / f"{outcome.sale}.json").write_text(outcome.to_json(), encoding="utf-8")
    path = reports / f"{outcome.sale}.html"
    path.write_text(outcome.to_html(), encoding="utf-8")
    return path


def _reports_folder(folder: Path) -> Path:
    reports = folder / "reports"
    reports.mkdir(parents=True, exist_ok=True)
    return reports


def _keep_only_reports(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name == "reports":
            continue
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()  # where there is no report either


async def _stay(console: Console, credentials: Credentials, folder: Path) -> None:
    """Leave everything running until SIGINT or SIGTERM, either of which is a good end."""
    console.print(f"Still running: {credentials.base_url}/docs and {credentials.base_url}/v1/sales")
    console.print(f"Keys: {folder / FILE_NAME}. Ctrl-C ends it.")
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stop.set)
    await stop.wait()
