"""Ids of merchants and keys: random, so that none can be guessed or tells how many there are."""

from __future__ import annotations

from base64 import b32encode
from secrets import token_bytes

_LENGTH = 12  # 60 random bits


def new_id(prefix: str) -> str:
    """A new id: the prefix, an underscore and 12 lower-case base32 characters."""
    return f"{prefix}_{b32encode(token_bytes(8))[:_LENGTH].decode().lower()}"
