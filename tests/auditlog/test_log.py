"""The log in a real Postgres: what is written, by whom, in whose transaction, and never changed."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re

import asyncpg
import orjson
import pytest

from flashsale.access.api_keys import Scope, generate
from flashsale.access.queries import create_api_key, create_merchant, revoke_api_key
from flashsale.auditlog.acting import Act, acting, current_act
from flashsale.auditlog.log import REFUSAL_SECONDS, REFUSALS_BURST_MAX, AuditLog
from flashsale.auditlog.queries import ROWS_AT_ONCE, page, record, verify_chains
from tests.sales.shop import now


def act(merchant: str, action: str = "create_api_key", **more) -> Act:
    return Act(merchant, "key_aaaaaaaaaaaa", action, **more)


async def entries(pool, merchant: str):
    return list(reversed(await page(pool, merchant, None, None, 500)))


async def verdicts(pool) -> dict[str, str]:
    async with pool.acquire() as connection:
        return {each.merchant_id: each.fault for each in await verify_chains(connection)}


async def new_key(pool, merchant: str):
    key, made = generate(merchant, Scope.READ, now=now(), label="till")
    await create_api_key(pool, made)
    return key, made


async def test_a_change_and_its_entry_are_one_transaction(pool, merchant) -> None:
    with acting(act(merchant)):
        key, made = await new_key(pool, merchant)
    (entry,) = await entries(pool, merchant)
    assert (entry.actor, entry.action) == ("key_aaaaaaaaaaaa", "create_api_key")
    assert (entry.seq, entry.subject, entry.sale_id) == (1, made.id, None)
    assert entry.detail["label"] == "till"
    assert key not in entry.entry
    assert made.key_hash not in entry.entry
    assert orjson.loads(entry.entry)["merchant_id"] == merchant
    assert hashlib.sha256(entry.entry.encode()).hexdigest() == entry.hash
    with acting(act(merchant)), contextlib.suppress(ZeroDivisionError):
        async with pool.acquire() as connection, connection.transaction():
            await new_key(connection, merchant)
            raise ZeroDivisionError
    assert len(await entries(pool, merchant)) == 1
    assert await verdicts(pool) == {merchant: ""}


async def test_what_changes_nothing_and_whoever_acts_for_nobody_leave_no_entry(
    pool, merchant
) -> None:
    _, made = await new_key(pool, merchant)
    assert await entries(pool, merchant) == []
    with acting(act(merchant, "revoke_api_key")):
        assert await revoke_api_key(pool, merchant, made.id)
        assert await revoke_api_key(pool, merchant, made.id)
    (entry,) = await entries(pool, merchant)
    assert set(entry.detail) == {"revoked_at"}
    # The same connections, taken again once nobody acts any more.
    await asyncio.gather(*(new_key(pool, merchant) for _ in range(16)))
    assert len(await entries(pool, merchant)) == 1


async def test_one_transaction_is_one_entry_and_the_next_has_its_own(pool, merchant) -> None:
    with acting(act(merchant)):
        async with pool.acquire() as connection:
            async with connection.transaction():
                await new_key(connection, merchant)
                await new_key(connection, merchant)
            await new_key(connection, merchant)
    assert [entry.seq for entry in await entries(pool, merchant)] == [1, 2]


async def test_a_task_that_outlives_its_call_acts_for_nobody(pool, merchant) -> None:
    over = asyncio.Event()
    seen = []

    async def lives_on() -> None:
        seen.append(current_act())
        await over.wait()
        seen.append(current_act())
        await new_key(pool, merchant)

    with acting(act(merchant)):
        task = asyncio.create_task(lives_on())
        await asyncio.sleep(0)
    over.set()
    await task
    assert seen == [act(merchant), None]
    assert await entries(pool, merchant) == []


@pytest.mark.parametrize("locked", [True, False], ids=["as it is", "without the lock"])
async def test_two_appends_at_once_take_turns(pool, merchant, locked) -> None:
    await record(pool, merchant, "key", "first", None, {})
    if not locked:  # the control: the same function, but for what waits and the key it would hit
        (source,) = await pool.fetchrow("SELECT pg_get_functiondef('append_to_audit_log'::regproc)")
        naive = re.sub("INSERT INTO audit_heads [^;]*;|FOR UPDATE", "", source)
        await pool.execute(naive)
        await pool.execute("ALTER TABLE audit_log DROP CONSTRAINT audit_log_pkey")
    async with pool.acquire() as one, pool.acquire() as other:
        transaction = one.transaction()
        await transaction.start()
        assert await record(one, merchant, "key", "second", None, {}) == 2
        waiting = asyncio.create_task(record(other, merchant, "key", "third", None, {}))
        while not await pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            assert not waiting.done()
            await asyncio.sleep(0.01)
        await transaction.commit()
        assert await waiting == (3 if locked else 2)
    assert await verdicts(pool) == {merchant: "" if locked else "entry 3 is missing"}


async def test_chains_of_merchants_are_apart_and_gapless_under_load(pool, merchant) -> None:
    other = (await create_merchant(pool, "Other", now=now())).merchant_id
    asked = [merchant, other] * 40
    await asyncio.gather(*(record(pool, each, "key", "try", None, {"n": 1}) for each in asked))
    for each in (merchant, other):
        assert [entry.seq for entry in await entries(pool, each)] == [*range(1, 41)]
    assert await verdicts(pool) == {merchant: "", other: ""}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET entry = '{}'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "DELETE FROM audit_heads",
        "TRUNCATE audit_heads",
    ],
)
async def test_the_log_only_grows(pool, merchant, statement) -> None:
    await record(pool, merchant, "key", "try", None, {})
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="only grows"):
        await pool.execute(statement)


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        ("UPDATE audit_log SET entry = replace(entry, 'try', 'tried') WHERE seq = 2", "changed"),
        ("DELETE FROM audit_log WHERE seq = 2", "entry 2 is missing"),
        ("DELETE FROM audit_log WHERE seq = 3", "ends at entry 2, and should at 3"),
        ("DELETE FROM audit_heads", "ends at entry 3, and should at 0"),
    ],
)
async def test_what_an_owner_of_the_tables_does_is_seen(pool, merchant, damage, fault) -> None:
    for _ in range(3):
        await record(pool, merchant, "key", "try", None, {})
    await pool.execute("ALTER TABLE audit_log DISABLE TRIGGER USER")
    await pool.execute("ALTER TABLE audit_heads DISABLE TRIGGER USER")
    await pool.execute(damage)
    assert fault in (await verdicts(pool))[merchant]


async def test_a_long_chain_is_checked_in_pages(pool, merchant) -> None:
    await pool.execute(
        "SELECT append_to_audit_log($1, 'key', 'try', NULL, NULL, '{}')"
        " FROM generate_series(1, $2)",
        merchant,
        ROWS_AT_ONCE + 1,
    )
    async with pool.acquire() as connection:
        (verdict,) = await verify_chains(connection)
    assert (verdict.holds, verdict.entries) == (True, ROWS_AT_ONCE + 1)


async def test_refusals_are_bounded_and_what_is_left_out_is_counted(pool, merchant) -> None:
    seconds = [0.0]
    log = AuditLog(pool, clock=lambda: seconds[0])
    tried = act(merchant, "pause_sale", subject="aaaaaaaaaaaa", sale_id="aaaaaaaaaaaa")
    told = [await log.refused(tried, "manage") for _ in range(REFUSALS_BURST_MAX + 5)]
    assert told == [True] * REFUSALS_BURST_MAX + [False] * 5
    other = Act(merchant, "key_other", "pause_sale")
    assert await log.refused(other, "manage")  # one key's noise does not hide another's
    seconds[0] += REFUSAL_SECONDS
    assert await log.refused(tried, "manage")
    last = (await entries(pool, merchant))[-1]
    assert last.detail == {
        "refused": "scope_missing",
        "needed": "manage",
        "not_logged_before": 5,
    }
