"""The sandbox' file: one thread, one transaction for all that waits. Knows no rule of payments."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

_Result = TypeVar("_Result")

#: What one transaction may hold, so that the first of many is not answered with the last.
BATCH_MAX = 500

_SCHEMA = """
CREATE TABLE IF NOT EXISTS payments (
    payment_id TEXT PRIMARY KEY, order_id TEXT NOT NULL, amount INTEGER NOT NULL,
    currency TEXT NOT NULL, description TEXT NOT NULL, expires_at_ms INTEGER NOT NULL,
    save INTEGER NOT NULL, saved_ref TEXT, state TEXT NOT NULL, refunded INTEGER NOT NULL,
    late_at_ms INTEGER, switches BLOB, CHECK (refunded BETWEEN 0 AND amount)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS payments_late ON payments (late_at_ms) WHERE late_at_ms IS NOT NULL;
CREATE TABLE IF NOT EXISTS refunds (
    refund_id TEXT PRIMARY KEY, payment_id TEXT NOT NULL, amount INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL, type TEXT NOT NULL, payment_id TEXT NOT NULL,
    refund_id TEXT, order_id TEXT NOT NULL, amount INTEGER NOT NULL, currency TEXT NOT NULL,
    fee INTEGER NOT NULL, occurred_at_ms INTEGER NOT NULL, undelivered INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS events_undelivered ON events (seq) WHERE undelivered > 0;
CREATE INDEX IF NOT EXISTS events_by_payment ON events (payment_id);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""

Work = Callable[[sqlite3.Connection], Any]
_Waiting = tuple[Work, asyncio.Future[Any]]


class Storage:
    """A SQLite file, used from one thread of its own.

    What is awaited is on disk when it returns. Everything that waits shares one commit.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._connection = self._open()
        self._thread = threading.Thread(target=self._work, name="sandbox-storage", daemon=True)
        self._thread.start()

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.touch(mode=0o600)
        connection = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        connection.execute("PRAGMA journal_mode = WAL")
        # The file survives a kill of the process with less; a power cut is what FULL is for.
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_SCHEMA)
        return connection

    async def run(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """The result of `work`, committed. What it raises is raised here, its writes undone."""
        future: asyncio.Future[_Result] = self._loop.create_future()
        self._waiting.put((work, future))
        return await future

    async def close(self) -> None:
        """Finish what waits, and close the file."""
        self._waiting.put(None)
        await asyncio.to_thread(self._thread.join)
        self._connection.close()

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch = [first]
            ending = False
            while len(batch) < BATCH_MAX and not self._waiting.empty():
                if (another := self._waiting.get()) is None:
                    ending = True
                    break
                batch.append(another)
            self._loop.call_soon_threadsafe(_tell, self._commit(batch))
            if ending:
                return

    def _commit(self, batch: list[_Waiting]) -> list[tuple[asyncio.Future[Any], Any, bool]]:
        done = []
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            done = [(future, *self._one(work)) for work, future in batch]
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            return [(future, error, False) for _, future in batch]
        return done

    def _one(self, work: Work) -> tuple[Any, bool]:
        """What a piece of work returns or raises; every rule checks before it writes."""
        before = self._connection.total_changes
        try:
            return work(self._connection), True
        except sqlite3.Error:
            raise
        except Exception as error:  # noqa: BLE001 - told to whoever asked for it
            assert self._connection.total_changes == before, "a refusal comes before any write"
            return error, False


def _tell(done: list[tuple[asyncio.Future[Any], Any, bool]]) -> None:
    for future, result, good in done:
        if future.cancelled():
            continue
        if good:
            future.set_result(result)
        else:
            future.set_exception(result)
