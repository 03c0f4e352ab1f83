"""Merchants and keys in a real Postgres."""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime, timedelta

import asyncpg
import jwt
import pytest

from flashsale.access import queries
from flashsale.access.api_keys import Scope, generate, hash_key
from flashsale.access.buyer_keys import generate_buyer_key
from flashsale.access.keyring import Keyring
from flashsale.access.tokens import Buyer, TokenRefusal, issue_buyer_token

NOW = datetime.now(UTC)
SECONDS = NOW.timestamp()


@pytest.fixture
async def database(new_database, schema):
    async with (
        new_database(template=schema) as dsn,
        asyncpg.create_pool(dsn, min_size=1, max_size=4) as pool,
    ):
        yield pool


@pytest.fixture
async def merchant(database):
    return await queries.create_merchant(database, "小米", now=NOW)


async def test_a_new_merchant_has_working_keys(database, merchant):
    assert re.fullmatch(r"mer_[a-z2-7]{12}", merchant.merchant_id)
    record = await queries.find_api_key(database, hash_key(merchant.api_key))
    assert record.merchant_id == merchant.merchant_id
    assert record.scope is Scope.ADMIN
    assert record.is_usable(NOW)
    keyring = Keyring(functools.partial(queries.load_buyer_keys, database))
    await keyring.refresh()
    assert keyring.signing_key(merchant.merchant_id) == merchant.buyer_key
    # What a merchant does with the secret as text and any JWT library, naming no kid.
    claims = {"iss": merchant.merchant_id, "sub": "x", "iat": SECONDS, "exp": SECONDS + 9}
    token = jwt.encode(claims, merchant.buyer_key.secret.decode(), "HS256")
    assert keyring.verifier.verify(token, SECONDS) == Buyer(merchant.merchant_id, "x")


async def test_secrets_are_not_shown_and_the_api_key_is_not_kept(database, merchant):
    assert merchant.api_key not in repr(merchant)
    assert merchant.buyer_key.secret.decode() not in repr(merchant)
    rows = await database.fetch("SELECT * FROM api_keys")
    assert merchant.api_key not in str(rows)


async def test_a_merchant_is_created_as_a_whole_or_not_at_all(database):
    with pytest.raises(asyncpg.CheckViolationError):
        await queries.create_merchant(database, "", now=NOW)
    for table in ("merchants", "merchant_buyer_keys", "api_keys"):
        assert await database.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_rotating_a_buyer_key(database, merchant):
    keyring = Keyring(functools.partial(queries.load_buyer_keys, database))
    old, new = merchant.buyer_key, generate_buyer_key(merchant.merchant_id)
    old_token, new_token = (issue_buyer_token(key, "x", now=SECONDS) for key in (old, new))
    await queries.add_buyer_key(database, new)
    await keyring.refresh()
    assert keyring.signing_key(merchant.merchant_id) == new
    for token in (old_token, new_token):
        assert keyring.verifier.verify(token, SECONDS) == Buyer(merchant.merchant_id, "x")

    assert not await queries.retire_buyer_key(database, "mer_other", old.kid)
    assert await queries.retire_buyer_key(database, merchant.merchant_id, old.kid)
    assert await queries.retire_buyer_key(database, merchant.merchant_id, old.kid)
    await keyring.refresh()
    assert keyring.verifier.verify(old_token, SECONDS) is TokenRefusal.TOKEN_INVALID
    assert keyring.verifier.verify(new_token, SECONDS) == Buyer(merchant.merchant_id, "x")


async def test_api_keys_are_kept_as_made_and_revoked_for_good(database, merchant):
    expires_at = NOW + timedelta(days=1)
    key, record = generate(
        merchant.merchant_id, Scope.READ, now=NOW, label="till", expires_at=expires_at
    )
    await queries.create_api_key(database, record)
    assert await queries.find_api_key(database, hash_key(key)) == record

    assert not await queries.revoke_api_key(database, "mer_other", record.id)
    assert await queries.find_api_key(database, hash_key(key)) == record
    assert await queries.revoke_api_key(database, merchant.merchant_id, record.id)
    revoked = await queries.find_api_key(database, hash_key(key))
    assert not revoked.is_usable(NOW)
    assert await queries.revoke_api_key(database, merchant.merchant_id, record.id)
    assert await queries.find_api_key(database, hash_key(key)) == revoked
    assert await queries.find_api_key(database, hash_key(key + "x")) is None


async def test_api_keys_are_listed_page_by_page(database, merchant):
    other = await queries.create_merchant(database, "other", now=NOW)
    for number in range(6):
        made = NOW + timedelta(seconds=number // 2)  # two at a time share an instant
        _, record = generate(merchant.merchant_id, Scope.READ, now=made, label=str(number))
        await queries.create_api_key(database, record)
    whole = await queries.list_api_keys(database, merchant.merchant_id)
    assert {record.label for record in whole} == {"first key", *"012345"}
    assert [record.created_at for record in whole] == sorted(r.created_at for r in whole)
    paged, after = [], None
    while page := await queries.list_api_keys(database, merchant.merchant_id, after=after, limit=3):
        paged, after = paged + page, page[-1].id
    assert paged == whole
    [others] = await queries.list_api_keys(database, other.merchant_id)
    assert await queries.list_api_keys(database, merchant.merchant_id, after=others.id) == []


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("UPDATE merchant_buyer_keys SET algorithm = 'none'", asyncpg.CheckViolationError),
        ("UPDATE merchant_buyer_keys SET secret = 'short'", asyncpg.CheckViolationError),
        ("UPDATE merchant_buyer_keys SET state = 'retired'", asyncpg.CheckViolationError),
        ("UPDATE merchant_buyer_keys SET retired_at = now()", asyncpg.CheckViolationError),
        ("UPDATE api_keys SET key_hash = 'fs_' || repeat('a', 43)", asyncpg.CheckViolationError),
        ("UPDATE api_keys SET prefix = prefix || 'x'", asyncpg.CheckViolationError),
        ("UPDATE api_keys SET scope = 'root'", asyncpg.CheckViolationError),
        ("UPDATE api_keys SET expires_at = created_at", asyncpg.CheckViolationError),
        ("DELETE FROM merchants", asyncpg.ForeignKeyViolationError),
    ],
)
async def test_postgres_refuses_what_cannot_be(database, merchant, statement, broken):
    with pytest.raises(broken):
        await database.execute(statement)
