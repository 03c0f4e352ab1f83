"""One run: a world, a launch, a crowd, faults; then quiet, and everything written into a folder."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from tests.chaos import dump, quiet
from tests.chaos.clients import PRICES, SKUS, Merchant, Shop, live_all
from tests.chaos.history import History, opened
from tests.chaos.kept import now_ms
from tests.chaos.schedule import Planned, carry_out, moves_clocks
from tests.chaos.world import ROOT, World, world

#: Of each SKU: 500 altogether.
UNITS = 250
LIMIT = 2
HOLD_SECONDS = 3
CLIENTS = 50
_OPENS_IN_SECONDS = 1.0
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
            shop = await _announce(place, history, plan.units, LIMIT, HOLD_SECONDS)
            probe = await _announce(place, history, _PROBE_UNITS, LIMIT, 60)
            about = await _live(plan, place, shop, probe, folder)
        await _write(folder, place, about, history)
    return about


async def _live(plan: Plan, place: World, shop: Shop, probe: Shop, folder: Path) -> dict[str, Any]:
    await asyncio.sleep(_OPENS_IN_SECONDS)
    merchant = Merchant(shop, _random(plan))

    async def edit(quantity: int) -> str:
        answer = await merchant.supply(f"edit-{now_ms()}", quantity)
        return f"{answer.status} {answer.code or ''}".strip()

    place.edit_stock = edit
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
        "sale": shop.sale,
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


def _random(plan: Plan) -> Any:
    from random import Random

    return Random(f"{plan.seed}/edits")


async def _announce(
    place: World, history: History, units: int, limit: int, hold_seconds: int
) -> Shop:
    """A sale that opens in a moment."""
    starts_at = datetime.now(UTC) + timedelta(seconds=_OPENS_IN_SECONDS)
    body = {
        "name": "Chaos",
        "kind": "launch",
        "starts_at": starts_at.isoformat(timespec="milliseconds"),
        "ends_at": (starts_at + timedelta(hours=2)).isoformat(timespec="milliseconds"),
        "items": [
            {
                "sku": sku,
                "name": sku,
                "price": {"amount": PRICES[sku], "currency": "CNY"},
                "supply": units,
            }
            for sku in SKUS
        ],
        "per_buyer_limit": limit,
        "hold_seconds": hold_seconds,
        "published_supply": True,
    }
    shop = Shop(place, history, "", limit)
    for path in ("/v1/merchant/sales", "/v1/merchant/sales/{}/schedule"):
        async with history.session.post(
            place.base_url + path.format(shop.sale), headers=shop.owner, json=body
        ) as response:
            answer = await response.json(content_type=None)
            assert response.ok, answer
        shop.sale, body = answer["id"], {}
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
