"""INV-17 as the audit tells it: whole chains hold, and a broken one is named."""

from __future__ import annotations

import asyncpg
import pytest

from flashsale.access.queries import create_merchant
from flashsale.auditlog.chain import Verdict
from flashsale.auditlog.queries import record
from flashsale.reconciliation.chains import chains_check
from flashsale.reconciliation.installation import audit_installation
from tests.sales.shop import now


@pytest.fixture
async def pool(schema, new_database):
    async with (
        new_database(template=schema) as dsn,
        asyncpg.create_pool(dsn, min_size=1, max_size=2) as pool,
    ):
        yield pool


async def test_the_installation_answers_for_its_audit_logs(pool) -> None:
    merchants = [(await create_merchant(pool, name, now=now())).merchant_id for name in "ab"]
    for merchant in merchants:
        for _ in range(3):
            await record(pool, merchant, "key", "try", None, {})
    report = await audit_installation(pool)
    assert report.holds
    assert report.counts["audit_log_entries"] == 6
    await pool.execute("ALTER TABLE audit_log DISABLE TRIGGER USER")
    await pool.execute("DELETE FROM audit_log WHERE merchant_id = $1 AND seq = 2", merchants[1])
    (broken,) = (await audit_installation(pool)).broken
    assert (broken.invariant, broken.left, broken.right) == ("INV-17", 1, 0)
    assert broken.detail == f"{merchants[1]}: entry 2 is missing"


def test_many_broken_chains_are_counted() -> None:
    check = chains_check(
        [Verdict(f"mer_{number}", 1, "entry 1 was changed") for number in range(5)]
    )
    assert (check.holds, check.left) == (False, 5)
    assert check.detail.endswith("and 2 more")
    assert chains_check([]).holds
