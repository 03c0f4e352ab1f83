"""What a merchant may do to a running sale, at the worst moment, through the API as everybody."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.chaos.world import World


async def edit_stock(world: World, args: dict[str, Any]) -> str:
    """Add or take back units."""
    answer = await world.seller.supply(args["quantity"])
    return f"{answer.status} {answer.code or ''}".strip()


async def plan_wave(world: World, args: dict[str, Any]) -> str:
    """Announce units that are to come at an instant, whatever happens until then."""
    at = datetime.now(UTC) + timedelta(milliseconds=args["in_ms"])
    answer = await world.seller.supply(args["quantity"], at.isoformat(timespec="milliseconds"))
    return f"{answer.status} {answer.code or ''}".strip()


async def pause_sale(world: World, args: dict[str, Any]) -> str:
    """Stop selling for a while. Whatever became of it, selling goes on afterwards."""
    async with world.guard("sale"):
        seller, sale = world.seller, world.seller.shop.sale
        paused = await seller.act("pause", sale)
        try:
            await asyncio.sleep(args["ms"] / 1000)
        finally:
            resumed = await seller.act("resume", sale)
    return f"{paused.status}, {resumed.status}"


async def close_sale(world: World, _: dict[str, Any]) -> str:
    """End the sale for good; the crowd goes on with another one."""
    async with world.guard("sale"):
        closed = await world.seller.act("close", world.seller.shop.sale)
        if closed.ok:
            await world.seller.follow_up()
    return f"{closed.status}"
