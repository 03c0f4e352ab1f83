"""Merchant API keys: how they are made, kept and compared. Never keeps a key, only its hash."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from flashsale.access.names import new_id

KEY_BYTES = 32
PREFIX_CHARACTERS = 11
_KEY = re.compile(r"fs_[A-Za-z0-9_-]{43}", re.ASCII)


class Scope(StrEnum):
    """What an API key may do; each scope includes the ones before it."""

    READ = "read"
    MANAGE = "manage"
    ADMIN = "admin"


_RANK = {scope: rank for rank, scope in enumerate(Scope)}


@dataclass(frozen=True, slots=True)
class ApiKeyRecord:
    """What is kept of an API key. `prefix` is its first 11 characters, for lists."""

    id: str
    merchant_id: str
    key_hash: str
    prefix: str
    scope: Scope
    label: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_usable(self, now: datetime) -> bool:
        """Whether the key is neither revoked nor expired at `now` (with a time zone)."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def allows(scope: Scope, needed: Scope) -> bool:
    """Whether a key of `scope` may do what needs `needed`."""
    return _RANK[scope] >= _RANK[needed]


def generate(
    merchant_id: str,
    scope: Scope,
    *,
    now: datetime,
    label: str = "",
    expires_at: datetime | None = None,
) -> tuple[str, ApiKeyRecord]:
    """Make a key: its text, to be shown once, and the record to keep."""
    key = f"fs_{secrets.token_urlsafe(KEY_BYTES)}"
    record = ApiKeyRecord(
        id=new_id("key"),
        merchant_id=merchant_id,
        key_hash=hash_key(key),
        prefix=key[:PREFIX_CHARACTERS],
        scope=scope,
        label=label,
        created_at=now,
        expires_at=expires_at,
    )
    return key, record


def is_api_key(text: str) -> bool:
    """Whether `text` has the form of an API key: worth a look-up, and no more than that."""
    return _KEY.fullmatch(text) is not None


def hash_key(key: str) -> str:
    """SHA-256 of the whole key, in hex.

    A slow hash protects passwords because they can be guessed; nobody guesses 256 random bits.
    Looking a key up by its hash gives no timing hint either: the hash is not the caller's choice.
    """
    return hashlib.sha256(key.encode()).hexdigest()
