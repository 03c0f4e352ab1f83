"""An address behind which Redis servers take turns, as one that is restarted does."""

from __future__ import annotations

from pathlib import Path

from redis.asyncio import Redis


class Address:
    """A socket's path that leads to one server, and then to another run, or another one."""

    def __init__(self, path: Path, server: Redis) -> None:
        self.path = path
        self._server = server
        self._point()

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    async def cut(self) -> None:
        """Every connection breaks."""
        await self._server.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    async def lead_to(self, server: Redis) -> None:
        """The server ends; another one answers in its place."""
        await self.cut()
        self._server = server
        self._point()

    def _point(self) -> None:
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(self._server.connection_pool.connection_kwargs["path"])
