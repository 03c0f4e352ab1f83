"""One run: a world, a launch, a crowd, faults; then quiet, and everything written into a folder."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import aiohttp

from tests.chaos import dump, quiet
from tests.chaos.clients import Merchant, Shop, live_all
from tests.chaos.history import History, opened
from tests.chaos.kept import now_ms
from tests.chaos.launch import OPENS_IN_SECONDS, PRICES, SKUS
from tests.chaos.schedule import Planned, carry_out, moves_clocks
from tests.chaos.world import ROOT, World, world

#: Of each SKU: 500 altogether.
UNITS = 250
LIMIT = 2
HOLD_SECONDS = 3
CLIENTS = 50
_ANNOUNCED_SECONDS_MAX = 60
_PROBE_UNITS = 1_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is made from. `planted`: the name of a bug that is put in, and its variables."""

    seed: int
    seconds: float
    schedule: Sequence[Planned]
    clients: int = CLIENTS
    planted: str | None = None
    environment: dict[str, str] | None = None
    units: int = UNITS
    patience_seconds: float = quiet.PATIENCE_SECONDS


async def run(plan: Plan, folder: Path) -> dict[str, Any]:
    """Run it, and write the folder that the checker reads. Returns what `run.json` holds."""
    folder.mkdir(parents=True, exist_ok=True)
    clocks = moves_clocks(plan.schedule)
    async with (
        world(folder / "logs", moves_clocks=clocks, planted=plan.environment) as place,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        with opened(folder) as file:
            history = History(session, place.base_url, file)
            shop = await _open_shop(place, history, plan.units, HOLD_SECONDS)
            probe = await _open_shop(place, history, _PROBE_UNITS, 60)
            about = await _live(plan, place, shop, probe, folder)
        await _write(folder, place, about, history)
    return about


async def _live(plan: Plan, place: World, shop: Shop, probe: Shop, folder: Path) -> dict[str, Any]:
    await asyncio.sleep(OPENS_IN_SECONDS)
    place.seller = Merchant(shop, Random(f"{plan.seed}/edits"))
    tail = asyncio.create_task(dump.Tail(place, folder / "entries.jsonl").run())
    started = now_ms()
    crowd = asyncio.create_task(live_all(shop, plan.clients, plan.seed))
    try:
        done = await carry_out(place, plan.schedule, started)
        await asyncio.sleep(max(0.0, started / 1000 + plan.seconds - now_ms() / 1000))
        healing = await quiet.heal(place)
        healed = now_ms()
        shop.stopping.set()
        await crowd
        # A checkout that was opened by a clock that was ahead ends when that clock said.
        more_seconds = quiet.PATIENCE_SECONDS if moves_clocks(plan.schedule) else 0
        patience_seconds = plan.patience_seconds + more_seconds
        quiescence = await quiet.until_quiet(place, probe, patience_seconds)
        if healing:
            quiescence |= {"reached": False, "missing": {"healing": healing}}
    finally:
        for task in (crowd, tail):
            # A client library may take our cancellation for a time-out of its own, and go on.
            while not task.done():
                task.cancel()
                await asyncio.wait((task,), timeout=1)
    versions = await dump.versions(place)
    merchant_id = place.merchant.merchant_id if place.merchant else None
    lossy = [line["at_ms"] for line in done if line["lossy"]]
    return {
        "seed": plan.seed,
        "seconds": plan.seconds,
        "clients": plan.clients,
        "units": dict.fromkeys(SKUS, plan.units),
        "prices": PRICES,
        "buyer_limit": LIMIT,
        "hold_seconds": HOLD_SECONDS,
        "merchant": merchant_id,
        "sales": shop.sales,
        "probe_sale": probe.sale,
        "started_ms": started,
        "healed_ms": healed,
        "ended_ms": now_ms(),
        "schedule": done,
        "lossy_from_ms": min(lossy, default=None),
        "planted": plan.planted,
        "versions": versions,
        "quiescence": quiescence,
        "processes": place.lives,
    }


async def _open_shop(place: World, history: History, units: int, hold_seconds: int) -> Shop:
    shop = Shop(place, history, units, LIMIT, hold_seconds)
    async with asyncio.timeout(_ANNOUNCED_SECONDS_MAX):
        await shop.open()
    return shop


async def _audited(place: World) -> Any:
    """What the engine's own audit says, as an operator would ask it."""
    environment = {
        **os.environ,
        **place.place.environment(),
        "FLASHSALE_REDIS_URL": place.redis_url,
        "FLASHSALE_POSTGRES_DSN": place.postgres_dsn,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "flashsale", "audit", "--json"),
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await process.communicate()
    try:
        return json.loads(told)
    except ValueError:
        return {"holds": False, "said": told.decode(errors="replace")[-2000:]}


async def _write(folder: Path, place: World, about: dict[str, Any], history: History) -> None:
    rows = await dump.postgres_rows(place)
    wholes = {
        "run": about,
        "audit": await _audited(place),
        "redis": await dump.redis_lanes(place),
        "postgres": rows,
        "provider": await dump.provider_lines(place),
        "sometimes": dump.sometimes(place, rows, history.counts),
    }
    about["operations"] = dict(sorted(history.counts.items()))
    for name, content in wholes.items():
        with contextlib.suppress(FileNotFoundError):
            (folder / f"{name}.json").unlink()
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1))
