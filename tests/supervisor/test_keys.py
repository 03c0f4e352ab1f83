"""What `up` writes into credentials.json is what works, also after a buyer key was retired."""

from __future__ import annotations

from pathlib import Path

import asyncpg

from flashsale.access.buyer_keys import generate_buyer_key
from flashsale.access.queries import add_buyer_key, load_buyer_keys, retire_buyer_key
from flashsale.embedded.servers import Servers
from flashsale.supervisor import _credentials


async def test_a_buyer_key_that_signs_no_more_is_replaced(
    schema, new_database, tmp_path: Path
) -> None:
    async with new_database(template=schema) as dsn:
        servers = Servers("redis://", dsn, {})
        first = await _credentials(tmp_path, servers, "http://one")
        first.save(tmp_path)
        connection = await asyncpg.connect(dsn)
        try:
            (old,) = await load_buyer_keys(connection)
            key = generate_buyer_key(first.merchant_id)
            await add_buyer_key(connection, key)
            beside = await _credentials(tmp_path, servers, "http://one")
            assert beside == first  # both are good
            await retire_buyer_key(connection, first.merchant_id, old)
        finally:
            await connection.close()
        after = await _credentials(tmp_path, servers, "http://one")
        assert after.buyer_signing_key == key.secret.decode()
        assert (after.merchant_id, after.api_key) == (first.merchant_id, first.api_key)
