"""The bundled Redis-compatible server: it fsyncs before it answers, and never listens on TCP."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from flashsale.embedded.binaries import find_redis_server
from flashsale.embedded.process import Child, spawn
from flashsale.embedded.server import clean_environment

Durability = Literal["strict", "relaxed"]

_ANSWER_SECONDS = 1


@dataclass(frozen=True, slots=True)
class RedisServer:
    """Where the server keeps its data and its socket, and what promises it is started with."""

    data_dir: Path
    socket_dir: Path
    log_path: Path
    lock_descriptor: int
    durability: Durability
    config: Path | None

    name: ClassVar[str] = "redis"
    stop_signal: ClassVar[int] = signal.SIGTERM

    @property
    def socket(self) -> Path:
        """The Unix socket it listens on."""
        return self.socket_dir / "redis.sock"

    @property
    def url(self) -> str:
        """The URL that redis-py reads."""
        return f"unix://{self.socket}?db=0"

    def prepare(self) -> None:
        """Make its folders."""
        self.data_dir.mkdir(mode=0o700, exist_ok=True)
        self.socket_dir.mkdir(mode=0o700)

    def spawn(self) -> Child:
        """Start the program."""
        return spawn(
            self.name,
            [str(find_redis_server()), *self._settings()],
            env=clean_environment(),
            cwd=self.data_dir,
            log_path=self.log_path,
            pass_fds=(self.lock_descriptor,),
        )

    def _settings(self) -> list[str]:
        """The optional file first: what the promises rest on is said last and wins."""
        settings = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "daemonize": "no",
            "logfile": "",
            "dir": ".",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always" if self.durability == "strict" else "everysec",
            "maxmemory-policy": "noeviction",
        }
        given = [] if self.config is None else [str(self.config.absolute())]
        return given + [word for key, value in settings.items() for word in (f"--{key}", value)]

    async def is_ready(self, child: Child) -> bool:
        """Whether it answers PING: not before the append-only file has been loaded."""
        del child
        with contextlib.suppress(OSError):  # TimeoutError is one of them
            reader, writer = await asyncio.open_unix_connection(self.socket)
            try:
                writer.write(b"PING\r\n")
                async with asyncio.timeout(_ANSWER_SECONDS):
                    return await reader.readline() == b"+PONG\r\n"
            finally:
                writer.close()
        return False
