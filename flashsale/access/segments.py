"""The text of a token segment: base64url and JSON, each in one spelling only. Trusts nothing."""

from __future__ import annotations

import json
from binascii import a2b_base64, b2a_base64
from typing import Any

import orjson

# The standard alphabet's own "+", "/" and "=" become a character that no decoder takes.
_FROM_URL_SAFE = bytes.maketrans(b"-_+/=", b"+/!!!")
_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_PADDING = (b"", b"", b"==", b"=")
# By length modulo 4: the last characters whose unused bits are zero. Any other would decode to the
# same bytes, and one token would have several spellings.
_LAST_CHARACTERS = (b"", b"", b"AQgw", b"AEIMQUYcgkosw048")


def encode_segment(data: bytes) -> bytes:
    """Encode as base64url without padding (RFC 7515, section 2)."""
    return b2a_base64(data, newline=False).translate(_TO_URL_SAFE, b"=")


def decode_segment(segment: bytes) -> bytes:
    """Decode base64url in its one canonical spelling, without padding; ValueError otherwise."""
    rest = len(segment) & 3
    if rest and segment[-1] not in _LAST_CHARACTERS[rest]:
        raise ValueError("not canonical base64url")
    return a2b_base64(segment.translate(_FROM_URL_SAFE) + _PADDING[rest], strict_mode=True)


def read_object(segment: bytes) -> dict[str, Any] | None:
    """Decode a segment that must be a JSON object in which no name occurs twice, else None.

    Lone surrogates, NaN and text that is not UTF-8 are refused too; orjson sees to it.
    """
    try:
        text = decode_segment(segment)
        value = orjson.loads(text)
        if type(value) is not dict:
            return None
        # Two quick proofs that no name occurs twice: as many colons as names (each name has one),
        # or the text is what we would write ourselves. Without them, a slower reader looks.
        if text.count(b":") != len(value) and orjson.dumps(value) != text:
            json.loads(text.decode(), object_pairs_hook=_refuse_repeated_names)
    except (ValueError, RecursionError):
        return None
    return value


def _refuse_repeated_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name occurs twice")
    return value
