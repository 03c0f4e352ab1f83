"""The drill of docs/recovery.md: a copy is taken, both stores are lost, and the sale goes on.

deploy/backup.sh and deploy/restore.sh are what is run. They need the programs of a Postgres that is
no older than the server: where this machine has none, the rows travel by COPY instead, and the rest
of the drill is the same.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from pathlib import Path

import asyncpg

from flashsale.domain.outcomes import Status
from flashsale.settlement.migrate import migrate
from tests.recovery.ward import Ward, open_ward
from tests.tidy.sources import ROOT

_TABLES = (
    "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'"
    " AND tablename NOT LIKE '%migrations'"
)
_ORDERS = "SELECT id, state, buyer_id, quantity FROM orders ORDER BY id"


async def ran(*command: str, dsn: str = "") -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "FLASHSALE_POSTGRES_DSN": dsn},
    )
    printed, said = await process.communicate()
    assert process.returncode is not None
    return process.returncode, printed.decode().strip(), said.decode().strip()


async def has_programs(pool: asyncpg.Pool) -> bool:
    """Whether pg_dump is here and not older than the server, which it refuses to read then."""
    if shutil.which("pg_dump") is None:
        return False
    version = (await ran("pg_dump", "--version"))[1]
    server = await pool.fetchval("SELECT current_setting('server_version_num')::integer / 10000")
    found = re.search(r" (\d+)", version)
    return found is not None and int(found[1]) >= server


async def copied_by_rows(source: asyncpg.Pool, target: str, folder: Path) -> None:
    """What pg_dump and pg_restore do, where neither is here: the schema, then every row."""
    await migrate(target)
    connection = await asyncpg.connect(target)
    try:
        tables = [row[0] for row in await source.fetch(_TABLES)]
        # Triggers have done their work, and foreign keys hold once all of it is there.
        async with connection.transaction():
            for table in tables:
                await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            keys = await connection.fetch(
                "SELECT conrelid::regclass::text AS place, quote_ident(conname) AS name,"
                " pg_get_constraintdef(oid) AS rule FROM pg_constraint WHERE contype = 'f'"
            )
            for key in keys:
                await connection.execute(
                    f"ALTER TABLE {key['place']} DROP CONSTRAINT {key['name']}"
                )
            for table in tables:
                await connection.execute(f"DELETE FROM {table}")
                file = folder / f"{table}.copy"
                await source.execute("SELECT 1")
                columns = [
                    row[0]
                    for row in await connection.fetch(
                        "SELECT column_name FROM information_schema.columns"
                        " WHERE table_name = $1 AND is_generated = 'NEVER'",
                        table.strip('"'),
                    )
                ]
                await source.copy_from_table(
                    table.strip('"'), columns=columns, output=file, format="binary"
                )
                await connection.copy_to_table(
                    table.strip('"'), columns=columns, source=file, format="binary"
                )
            for key in keys:
                await connection.execute(
                    f"ALTER TABLE {key['place']} ADD CONSTRAINT {key['name']} {key['rule']}"
                )
            for table in tables:
                await connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
    finally:
        await connection.close()


async def backed_up_and_restored(ward: Ward, source: str, target: str, folder: Path) -> None:
    if not await has_programs(ward.pool):
        await copied_by_rows(ward.pool, target, folder)
        return
    code, copy, said = await ran(str(ROOT / "deploy" / "backup.sh"), str(folder), dsn=source)
    assert (code, said) == (0, "")
    restore = str(ROOT / "deploy" / "restore.sh")
    assert await ran(restore, copy, dsn=target) == (0, "", "")
    code, _, said = await ran(restore, copy, dsn=target)
    assert code == 2
    assert "restore into an empty one" in said


async def test_a_sale_survives_the_loss_of_both_stores(
    schema, new_database, redis_db, redis_url, tmp_path
):
    async with new_database() as target:
        async with new_database(template=schema) as source, open_ward(source, redis_url) as before:
            kept = await before.reserve("ada", 2)
            await before.cancel(await before.reserve("bo"), "bo")
            await before.reserve("cid")
            await before.settle()
            assert await before.broken() == set()
            orders = await before.pool.fetch(_ORDERS)
            sale, merchant = before.sale, before.merchant
            await backed_up_and_restored(before, source, target, tmp_path)
        # The database is gone by now, and Redis forgets everything.
        await redis_db.flushdb()
        async with open_ward(target, redis_url) as after:
            after.sale, after.merchant = sale, merchant
            assert await after.pool.fetch(_ORDERS) == orders
            assert [fault.sale for fault in await after.faults()] == [sale.id]
            done = await after.recover()
            assert (done.orders, done.live_units) == (3, 3)
            assert await after.broken() == set()
            assert (await after.ask(kept, "ada", 2)).status is Status.REPLAYED
            await after.reserve("dee")
            await after.settle()
            assert await after.broken() == set()


async def test_without_the_copy_nothing_could_be_recovered(
    schema, new_database, redis_db, redis_url
):
    """The control: an empty database knows no sale, and no order of it."""
    async with new_database(template=schema) as dsn, open_ward(dsn, redis_url) as ward:
        await ward.reserve("ada")
        lost = ward.sale.id
        await ward.settle()
    await redis_db.flushdb()
    async with new_database(template=schema) as dsn, open_ward(dsn, redis_url) as empty:
        assert await empty.pool.fetch(_ORDERS) == []
        assert await empty.pool.fetchval("SELECT count(*) FROM sales WHERE id = $1", lost) == 0
