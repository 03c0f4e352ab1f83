"""Faults of the provider: callbacks that misbehave, and how to ask it for anything at all."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

from tests.chaos.world import World

STEADY = {"duplicate": 0, "reorder": False, "delay_ms": 0, "drop": 0.0, "late_ms": 1000}
_TIMEOUT = aiohttp.ClientTimeout(total=3)
_TRIES_MAX = 15


async def ask_provider(world: World, method: str, path: str, body: Any = None) -> Any:
    """The provider's own API, until it answers; it may have been killed a moment ago."""
    headers = {"Authorization": f"Bearer {world.place.api_key}"}
    async with aiohttp.ClientSession(headers=headers, timeout=_TIMEOUT) as session:
        for _ in range(_TRIES_MAX):
            try:
                async with session.request(method, world.place.url + path, json=body) as response:
                    return await response.json(content_type=None)
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(0.25)
    raise TimeoutError("the sandbox does not come back")


async def callbacks(world: World, args: dict[str, Any]) -> str:
    """Callbacks come twice, out of order, late, or not at the first attempt."""
    await ask_provider(world, "PUT", "/v1/switches", args["switches"])
    try:
        await asyncio.sleep(args["ms"] / 1000)
    finally:
        await ask_provider(world, "PUT", "/v1/switches", STEADY)
    return ""
