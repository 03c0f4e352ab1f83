"""What both bundled servers share: being started, kept alive and stopped in good order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from flashsale.embedded.errors import EmbeddedError, ServerStartError
from flashsale.embedded.process import Child

_logger = logging.getLogger(__name__)
_READY_PATIENCE_SECONDS = 300  # a long append-only file or log replay is work, not a failure
_REAP_PATIENCE_SECONDS = 15
_STOP_PATIENCE_SECONDS = 30
_RESTART_PAUSE_SECONDS = 0.2
# Said by a server whose killed predecessor has not been cleaned up by the kernel yet.
_PREDECESSOR_REMAINS = ("is still in use", "already exists", "Address already in use")


class Server(Protocol):
    """A server program that can be started again and again on the same data."""

    @property
    def name(self) -> str:
        """What it is called in `pids`, in messages and in its log's name."""

    @property
    def stop_signal(self) -> int:
        """The signal that makes it end in good order."""

    def prepare(self) -> None:
        """Create what must exist before the first start."""

    def spawn(self) -> Child:
        """Start the program."""

    async def is_ready(self, child: Child) -> bool:
        """Whether the program answers."""


def clean_environment() -> dict[str, str]:
    """An environment without PG… variables and secrets; messages in English, as we read them."""
    kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


async def start(server: Server) -> Child:
    """Start a server and wait until it answers; ServerStartError says why it did not."""
    retry_until = time.monotonic() + _REAP_PATIENCE_SECONDS
    while True:
        child = server.spawn()
        try:
            if await _became_ready(server, child):
                return child
        except BaseException:
            await child.stop(server.stop_signal, patience_seconds=1)
            raise
        reason = child.last_words()
        remains = any(text in reason for text in _PREDECESSOR_REMAINS)
        if not remains or time.monotonic() > retry_until:
            raise ServerStartError(
                f"{server.name} did not start: {reason or 'it said nothing'} "
                f"Its data is untouched; its log is {child.log_path}."
            )
        await asyncio.sleep(_RESTART_PAUSE_SECONDS)


async def _became_ready(server: Server, child: Child) -> bool:
    """Wait for the first answer; False when the program ended instead."""
    deadline = time.monotonic() + _READY_PATIENCE_SECONDS
    while not await server.is_ready(child):
        if child.exit_code() is not None:
            return False
        if time.monotonic() > deadline:
            raise ServerStartError(
                f"{server.name} runs but has not answered for {_READY_PATIENCE_SECONDS} s; "
                f"its log is {child.log_path}."
            )
        await asyncio.sleep(0.01)
    return child.exit_code() is None


@contextlib.asynccontextmanager
async def kept_running(server: Server, changed: Callable[[int], None]) -> AsyncIterator[None]:
    """Run a server for as long as the block lasts, starting it again whenever it dies.

    `changed` is told the process id after every start; an OSError of its own is only logged.
    """
    server.prepare()
    child = await start(server)

    async def keep() -> None:
        nonlocal child
        while True:
            code = await child.wait()
            _logger.warning("%s ended with code %d; starting it again", server.name, code)
            child = await _start_again(server)
            try:
                changed(child.pid)
            except OSError as error:  # the server must stay kept even if nobody can be told
                _logger.error("%s", error)  # noqa: TRY400 - one plain line, no traceback

    keeper = asyncio.create_task(keep())
    try:
        changed(child.pid)
        yield
    finally:
        keeper.cancel()
        await asyncio.wait((keeper,))
        await child.stop(server.stop_signal, _STOP_PATIENCE_SECONDS)


async def _start_again(server: Server) -> Child:
    """Start a server until it stays up: a full disk is emptied some day."""
    while True:
        try:
            return await start(server)
        except EmbeddedError as error:
            _logger.error("%s", error)  # noqa: TRY400 - one plain line, no traceback
            await asyncio.sleep(1)
