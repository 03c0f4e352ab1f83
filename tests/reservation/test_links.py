"""Connections of scripts: none is used before it was asked which server it leads to."""

from __future__ import annotations

import pytest
from redis.exceptions import NoPermissionError

from flashsale.reservation.links import Links
from tests.lua.private_server import private_redis


async def _anybody(_: str) -> None:
    pass


@pytest.mark.parametrize("admit", [_anybody, None], ids=["", "control"])
async def test_who_is_not_told_the_run_does_not_use_the_server_the_next_time(admit):
    """The control asks nobody, and so nothing keeps it from the server."""
    async with private_redis() as redis:
        await redis.execute_command("ACL", "SETUSER", "default", "-info")
        links = Links(redis, admit=admit)
        for _ in range(2):
            if admit is None:
                assert await links.call("PING")
            else:
                with pytest.raises(NoPermissionError):
                    await links.call("PING")
        await links.close()
