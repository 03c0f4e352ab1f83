"""Faults of the way between the engine and its servers."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.chaos.proxy import Proxy
from tests.chaos.world import World


def _way(world: World, args: dict[str, Any]) -> Proxy:
    return world.redis if args["server"] == "redis" else world.postgres


async def delay(world: World, args: dict[str, Any]) -> str:
    """Everything takes longer."""
    way = _way(world, args)
    way.delay_ms = args["delay_ms"]
    try:
        await asyncio.sleep(args["ms"] / 1000)
    finally:
        way.delay_ms = 0
    return ""


async def reset(world: World, args: dict[str, Any]) -> str:
    """Every connection is reset at once."""
    return f"{_way(world, args).reset()} connections"


async def half_a_reply(world: World, args: dict[str, Any]) -> str:
    """The next replies end in the middle."""
    way = _way(world, args)
    way.halved = args["replies"]
    await asyncio.sleep(1)
    left, way.halved = way.halved, 0
    return f"{args['replies'] - left} replies"


async def black_hole(world: World, args: dict[str, Any]) -> str:
    """Nothing passes and nothing is refused; then the connections turn out to be dead."""
    way = _way(world, args)
    way.black_hole = True
    try:
        await asyncio.sleep(args["ms"] / 1000)
        way.reset()
    finally:
        way.black_hole = False
    return ""
