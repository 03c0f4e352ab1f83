"""Stands between the engine and a server, and can hold back, cut or lose what passes."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from pathlib import Path

_CHUNK_BYTES = 64 * 1024


@dataclass(eq=False, slots=True)
class _Wire:
    """One connection: both ends, so that both can be cut."""

    ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter]

    def cut(self) -> None:
        """Reset it, as a host that dies does."""
        for end in self.ends:
            end.transport.abort()


@dataclass(eq=False, slots=True)
class Proxy:
    """A Unix socket in front of a server's. Without a switch set it changes nothing.

    delay_ms        every piece waits that long, in both directions
    black_hole      what comes is kept until the switch is off again; nobody is told
    halved          so many replies are sent half, and their connection is cut
    """

    listens_at: Path
    server_at: Path
    delay_ms: int = 0
    halved: int = 0
    _open: asyncio.Event = field(default_factory=asyncio.Event)
    _wires: set[_Wire] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def listening(self):
        """Listen inside the block; every connection is cut after it."""
        self._open.set()
        self.listens_at.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        server = await asyncio.start_unix_server(self._meet, self.listens_at)
        try:
            yield self
        finally:
            server.close()
            self.reset()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def black_hole(self) -> bool:
        """Whether everything stops here."""
        return not self._open.is_set()

    @black_hole.setter
    def black_hole(self, swallows: bool) -> None:
        (self._open.clear if swallows else self._open.set)()

    def reset(self) -> int:
        """Cut every connection now; how many there were."""
        wires = list(self._wires)
        for wire in wires:
            wire.cut()
        return len(wires)

    def heal(self) -> None:
        """Be nothing but a wire again."""
        self.delay_ms = self.halved = 0
        self.black_hole = False

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            there, away = await asyncio.open_unix_connection(self.server_at)
        except OSError:
            writer.transport.abort()
            return
        wire = _Wire((writer, away))
        self._wires.add(wire)
        ways = [
            asyncio.create_task(self._carry(reader, away, wire, replies=False)),
            asyncio.create_task(self._carry(there, writer, wire, replies=True)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._wires.discard(wire)
            for end in wire.ends:
                end.close()

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        wire: _Wire,
        *,
        replies: bool,
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(_CHUNK_BYTES):
                await self._open.wait()
                if self.delay_ms:
                    await asyncio.sleep(self.delay_ms / 1000)
                if replies and self.halved and len(piece) > 1:
                    self.halved -= 1
                    writer.write(piece[: len(piece) // 2])
                    await writer.drain()
                    wire.cut()
                    return
                writer.write(piece)
                await writer.drain()
