"""API keys: their form, what is kept of them, and what a scope allows."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from flashsale.access.api_keys import Scope, allows, generate, hash_key, is_api_key

NOW = datetime(2027, 1, 15, 10, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_a_key_is_kept_by_its_hash_only():
    key, record = generate("mer_a", Scope.MANAGE, now=NOW, label="shop")
    assert is_api_key(key)
    assert len(key) == 46
    assert record.key_hash == hash_key(key) == hashlib.sha256(key.encode()).hexdigest()
    assert record.prefix == key[:11]
    assert key not in repr(record)
    assert (record.merchant_id, record.scope, record.label) == ("mer_a", "manage", "shop")


def test_no_two_keys_are_alike():
    made = [generate("mer_a", Scope.READ, now=NOW) for _ in range(100)]
    assert len({key for key, _ in made}) == len({record.id for _, record in made}) == 100


@pytest.mark.parametrize(
    "text", ["", "fs_", "fs_" + "a" * 42, "fs_" + "a" * 44, "FS_" + "a" * 43, "fs_" + "ä" * 43]
)
def test_what_is_no_key(text):
    assert not is_api_key(text)
    assert not is_api_key("fs_" + "a" * 43 + "\n")


def test_each_scope_includes_the_lesser_ones():
    allowed = {
        (scope.value, needed.value) for scope in Scope for needed in Scope if allows(scope, needed)
    }
    assert allowed == {
        ("read", "read"),
        ("manage", "read"),
        ("manage", "manage"),
        ("admin", "read"),
        ("admin", "manage"),
        ("admin", "admin"),
    }


@pytest.mark.parametrize(
    ("expires_in", "revoked", "usable"),
    [
        (None, False, True),
        (SECOND, False, True),
        (0 * SECOND, False, False),
        (-SECOND, False, False),
        (None, True, False),
        (SECOND, True, False),
    ],
)
def test_when_a_key_serves(expires_in, revoked, usable):
    expires_at = None if expires_in is None else NOW + expires_in
    _, record = generate("mer_a", Scope.READ, now=NOW - 9 * SECOND, expires_at=expires_at)
    assert replace(record, revoked_at=NOW if revoked else None).is_usable(NOW) is usable
