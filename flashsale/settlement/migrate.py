"""Migrations: numbered SQL files, applied once, in order; never changes one that was applied."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from typing import NamedTuple

import asyncpg

from flashsale.sentences import ended
from flashsale.settlement.queries import Connection

_FOLDER = Path(__file__).with_name("migrations")
#: Any number that nothing else of ours locks; one migration runs at a time.
_LOCK_KEY = 0x666C_6173_6873
_SECRET_BYTES = 32

_CREATE = """CREATE TABLE IF NOT EXISTS migrations (
    name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"""


class MigrationError(Exception):
    """The database and this version's files disagree; one line, and nothing was changed."""


class Migration(NamedTuple):
    """One file of `migrations/`."""

    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """What tells an edited file from the one that was applied."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def shipped_migrations(folder: Path = _FOLDER) -> list[Migration]:
    """The files of this version, in the order of their numbers."""
    files = sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    return [Migration(path.stem, path.read_text("utf-8")) for path in files]


async def migrate(dsn: str, folder: Path = _FOLDER) -> list[str]:
    """Bring the schema to this version; the names of the files that were applied now.

    Raises MigrationError where an applied file was changed or is not among this version's.
    """
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK_KEY)
        await connection.execute(_CREATE)
        missing = _missing(shipped_migrations(folder), await _applied(connection))
        for migration in missing:
            await _apply(connection, migration)
        await connection.execute(
            "INSERT INTO engine (order_id_secret) VALUES ($1) ON CONFLICT DO NOTHING",
            secrets.token_bytes(_SECRET_BYTES),
        )
    finally:
        await connection.close()
    return [migration.name for migration in missing]


async def schema_is_current(connection: Connection) -> bool:
    """Whether exactly this version's migrations are applied."""
    if not await connection.fetchval("SELECT to_regclass('migrations') IS NOT NULL"):
        return False
    shipped = {migration.name: migration.sha256 for migration in shipped_migrations()}
    return await _applied(connection) == shipped


async def _applied(connection: Connection) -> dict[str, str]:
    rows = await connection.fetch("SELECT name, sha256 FROM migrations ORDER BY name")
    return {row["name"]: row["sha256"] for row in rows}


def _missing(shipped: list[Migration], applied: dict[str, str]) -> list[Migration]:
    """What is still to apply; refuses to touch a database that other files have made."""
    known = {migration.name: migration for migration in shipped}
    for name, sha256 in applied.items():
        if name not in known:
            raise MigrationError(
                f"The database has migration {name}, which this version does not know; nothing was"
                " changed. Run the newer version that applied it."
            )
        if known[name].sha256 != sha256:
            raise MigrationError(
                f"Migration {name} was changed after it was applied; nothing was changed in the"
                " database. Restore the file and put the change into a new one."
            )
    missing = [migration for migration in shipped if migration.name not in applied]
    newest = max(applied, default="")
    for migration in missing:
        if migration.name < newest:
            raise MigrationError(
                f"Migration {migration.name} is older than {newest}, which is applied already;"
                " nothing was changed. Give it the next number."
            )
    return missing


async def _apply(connection: Connection, migration: Migration) -> None:
    try:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO migrations (name, sha256) VALUES ($1, $2)",
                migration.name,
                migration.sha256,
            )
    except asyncpg.PostgresError as error:
        raise MigrationError(
            f"Migration {migration.name} failed and was taken back: {ended(str(error))}"
            " Earlier ones are kept."
        ) from error
