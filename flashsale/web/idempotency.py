"""The Idempotency-Key header of an order; never decides whether a key was used before."""

from __future__ import annotations

from multidict import MultiMapping

from flashsale.web.errors import Problem

HEADER = "Idempotency-Key"
KEY_MAX_CHARACTERS = 255

_MISSING = Problem("idempotency_key_missing")
_MALFORMED = Problem("idempotency_key_malformed")


def idempotency_key(headers: MultiMapping[str]) -> str | Problem:
    """The key, 1 to 255 printable ASCII characters, or why it is refused.

    Two keys on one request could name two orders, so a second header is malformed.
    """
    keys = headers.getall(HEADER, [])
    if len(keys) != 1:
        return _MALFORMED if keys else _MISSING
    key = keys[0]
    if not key:
        return _MISSING
    if len(key) > KEY_MAX_CHARACTERS or not (key.isascii() and key.isprintable()):
        return _MALFORMED
    return key
