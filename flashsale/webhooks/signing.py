"""Secrets of endpoints and signatures of messages, as Standard Webhooks has them. Keeps nothing."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache

from standardwebhooks import Webhook

SECRET_BYTES = 32  # the specification asks for 24 to 64
_PREFIX = "whsec_"
_EVENT_PREFIX = "evt_"
_NUMBER_DIGITS_MAX = 18


def new_secret() -> str:
    """A secret as merchants and their libraries know them: `whsec_` and base64."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def message_id(event_id: int) -> str:
    """How an event is called outside; the same at every attempt, so that it can be told twice."""
    return f"{_EVENT_PREFIX}{event_id}"


def event_number(text: str) -> int | None:
    """The event of a message id, or None where that cannot be one."""
    digits = text.removeprefix(_EVENT_PREFIX)
    plain = text.startswith(_EVENT_PREFIX) and digits.isascii() and digits.isdigit()
    return int(digits) if plain and len(digits) <= _NUMBER_DIGITS_MAX else None


def message_body(event_type: str, at: datetime, data: str) -> str:
    """The body: `type`, `timestamp` and `data`, which is JSON text and stays as it is."""
    stamp = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f'{{"type":"{event_type}","timestamp":"{stamp}","data":{data}}}'


def signed_headers(
    signing_secrets: Iterable[str], message: str, now: datetime, body: str
) -> dict[str, str]:
    """The three headers; one signature for each secret, any of which may be checked."""
    at = now.astimezone(UTC)
    signatures = [_signer(secret).sign(message, at, body) for secret in signing_secrets]
    return {
        "webhook-id": message,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


@lru_cache(maxsize=1024)
def _signer(secret: str) -> Webhook:
    return Webhook(secret)
