"""`flashsale merchant key`: the way back in for a merchant without a key, and into the log."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import UTC, datetime

import asyncpg

from flashsale.access.api_keys import Scope, hash_key
from flashsale.access.queries import create_merchant, find_api_key
from flashsale.auditlog.queries import page


async def command(dsn: str, *arguments: str) -> tuple[int, str, str]:
    """The program itself: a command runs a loop of its own and wants the main thread."""
    ran = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "flashsale", "merchant", "key", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "FLASHSALE_POSTGRES_DSN": dsn},
    )
    printed, said = await ran.communicate()
    assert ran.returncode is not None
    return ran.returncode, printed.decode(), said.decode()


async def test_a_key_is_made_shown_once_and_logged_as_the_operators(schema, new_database) -> None:
    async with (
        new_database(template=schema) as dsn,
        asyncpg.create_pool(dsn, min_size=1, max_size=1) as pool,
    ):
        merchant = (await create_merchant(pool, "Mi", now=datetime.now(UTC))).merchant_id
        code, printed, _ = await command(dsn, merchant, "--scope", "read")
        assert code == 0
        told = json.loads(printed)
        record = await find_api_key(pool, hash_key(told["api_key"]))
        assert record is not None
        assert (record.merchant_id, record.scope, record.id) == (merchant, Scope.READ, told["id"])
        (entry,) = await page(pool, merchant, None, None, 10)
        assert (entry.actor, entry.action) == ("operator", "merchant_key")
        assert entry.subject == told["id"]
        assert told["api_key"] not in entry.entry
        for arguments, says in [
            (["mer_aaaaaaaaaaaa"], "there is no merchant of that id"),
            ([merchant, "--label", "a\nb"], "not printable"),
        ]:
            code, printed, said = await command(dsn, *arguments)
            assert (code, printed) == (2, "")
            assert says in said
