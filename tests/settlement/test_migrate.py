"""Migrations on a real database: once, in order, and never over a disagreement."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from flashsale.settlement.migrate import (
    MigrationError,
    migrate,
    schema_is_current,
    shipped_migrations,
)

ENGINE = "CREATE TABLE engine (singleton bool PRIMARY KEY DEFAULT true, order_id_secret bytea);"


def folder_with(path: Path, **files: str) -> Path:
    for name, sql in files.items():
        (path / f"{name.removeprefix('m')}.sql").write_text(sql)
    return path


async def tables(dsn: str) -> set[str]:
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()
    return {row["tablename"] for row in rows}


async def test_a_database_is_brought_up_to_date_once(fresh_database: str) -> None:
    connection = await asyncpg.connect(fresh_database)
    assert not await schema_is_current(connection)
    names = [migration.name for migration in shipped_migrations()]
    assert await migrate(fresh_database) == names
    assert await schema_is_current(connection)
    secret = await connection.fetchval("SELECT order_id_secret FROM engine")
    assert len(secret) == 32
    assert await migrate(fresh_database) == []
    assert await connection.fetchval("SELECT order_id_secret FROM engine") == secret
    await connection.execute("DELETE FROM migrations WHERE name = $1", names[-1])
    assert not await schema_is_current(connection)
    await connection.close()


async def test_several_at_once_apply_each_file_once(fresh_database: str) -> None:
    applied = await asyncio.gather(*(migrate(fresh_database) for _ in range(4)))
    names = [migration.name for migration in shipped_migrations()]
    assert sorted(name for one in applied for name in one) == names


def test_files_are_numbered_without_gaps() -> None:
    numbers = [int(migration.name[:4]) for migration in shipped_migrations()]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize(
    ("second_version", "error"),
    [
        ({"m0001_a": ENGINE, "m0002_b": "SELECT 2;"}, "Migration 0002_b was changed"),
        ({"m0001_a": ENGINE}, "has migration 0002_b, which this version does not know"),
        (
            {"m0000_z": "SELECT 0;", "m0001_a": ENGINE, "m0002_b": "SELECT 1;"},
            "Migration 0000_z is older than 0002_b",
        ),
        (
            {"m0001_a": ENGINE, "m0002_b": "SELECT 1;", "m0003_c": "CREATE TABLE c (); oops;"},
            "Migration 0003_c failed and was taken back: syntax error",
        ),
    ],
)
async def test_a_disagreement_is_one_line_and_changes_nothing(
    fresh_database: str, tmp_path: Path, second_version: dict[str, str], error: str
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    await migrate(fresh_database, folder_with(first, m0001_a=ENGINE, m0002_b="SELECT 1;"))
    before = await tables(fresh_database)
    with pytest.raises(MigrationError, match=error) as caught:
        await migrate(fresh_database, folder_with(second, **second_version))
    assert "\n" not in str(caught.value)
    assert await tables(fresh_database) == before
