"""What the sandbox keeps and how it may be told to misbehave. No I/O, no clock.

A payment is `open` until it is `captured`, `declined` or `expired`; only "pay late" captures one
that has expired, as banks do.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Annotated, Any, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, Field

REF_PREFIX = "sbx_"
_MAC_BYTES = 15

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,100}$")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[int, Field(ge=0, le=86_400_000)]


class SandboxError(Exception):
    """A request that the sandbox refuses: an HTTP status and one line."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Switches(_Form):
    """How it misbehaves; the defaults do not. All of it is decided by hashes, none by dice."""

    #: How often each callback is sent again after it was taken.
    duplicate: Annotated[int, Field(ge=0, le=10)] = 0
    #: Each callback waits for the next one and is sent behind it.
    reorder: bool = False
    delay_ms: Milliseconds = 0
    #: Of all callbacks, how many lose their first attempt; the repetition comes.
    drop: Fraction = 0.0
    #: Of all charges without the buyer, how many are declined.
    decline: Fraction = 0.0
    #: Whoever pays, pays after the payment has expired.
    late: bool = False
    #: How long after it has expired.
    late_ms: Milliseconds = 1000
    fee_basis_points: Annotated[int, Field(ge=0, le=10_000)] = 100


class SwitchesChange(_Form):
    """Some switches to set; what is not named stays."""

    duplicate: Annotated[int, Field(ge=0, le=10)] | None = None
    reorder: bool | None = None
    delay_ms: Milliseconds | None = None
    drop: Fraction | None = None
    decline: Fraction | None = None
    late: bool | None = None
    late_ms: Milliseconds | None = None
    fee_basis_points: Annotated[int, Field(ge=0, le=10_000)] | None = None

    def over(self, switches: Switches) -> Switches:
        """`switches` with this change."""
        return switches.model_copy(update=self.model_dump(exclude_none=True))


class OpenForm(_Form):
    """A payment to open. `amount` in minor units, `expires_at_ms` in Unix milliseconds."""

    payment_id: Identifier
    order_id: Identifier
    amount: Annotated[int, Field(gt=0, le=10**15)]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    description: Annotated[str, Field(max_length=500)] = ""
    expires_at_ms: Annotated[int, Field(gt=0)]
    save: bool = False
    switches: SwitchesChange | None = None


class ChargeForm(OpenForm):
    """A payment taken from whoever paid `saved_ref`."""

    saved_ref: Identifier


class RefundForm(_Form):
    """Part of a captured payment to give back."""

    refund_id: Identifier
    ref: Identifier
    amount: Annotated[int, Field(gt=0, le=10**15)]


class Payment(NamedTuple):
    """A payment as it is kept."""

    payment_id: str
    order_id: str
    amount: int
    currency: str
    description: str
    expires_at_ms: int
    save: int
    saved_ref: str | None
    state: str
    refunded: int
    #: When a late payer's money comes, in Unix milliseconds.
    late_at_ms: int | None
    #: Switches of this payment alone, as JSON.
    switches: bytes | None

    @property
    def ref(self) -> str:
        """The sandbox' own name for it."""
        return REF_PREFIX + self.payment_id

    def switches_over(self, general: Switches) -> Switches:
        """What holds for this payment."""
        if self.switches is None:
            return general
        return SwitchesChange.model_validate_json(self.switches).over(general)

    def shown(self) -> dict[str, Any]:
        """The payment as the API answers it."""
        return {
            "ref": self.ref,
            "payment_id": self.payment_id,
            "order_id": self.order_id,
            "amount": self.amount,
            "currency": self.currency,
            "state": self.state,
            "captured": self.amount if self.state == "captured" else 0,
            "refunded": self.refunded,
            "expires_at_ms": self.expires_at_ms,
        }


class Event(NamedTuple):
    """A movement or an outcome, as the statement lists it and callbacks tell it."""

    seq: int
    id: str
    type: str
    payment_id: str
    refund_id: str | None
    order_id: str
    amount: int
    currency: str
    fee: int
    occurred_at_ms: int

    def shown(self) -> dict[str, Any]:
        """The event without its number."""
        return {**self._asdict(), "seq": self.seq, "ref": REF_PREFIX + self.payment_id}

    def told(self) -> dict[str, Any]:
        """The event as callbacks tell it."""
        data = {name: value for name, value in self.shown().items() if name not in _OUTSIDE}
        return {"id": self.id, "type": self.type, "data": data}

    def body(self) -> bytes:
        """The callback: these bytes are what is signed."""
        return orjson.dumps(self.told())


_OUTSIDE = {"id", "type", "seq"}


def share(what: str, salt: str) -> float:
    """A number from 0 up to 1 that belongs to `what`: the same at every call."""
    digest = hashlib.blake2b(what.encode(), digest_size=7, person=salt.encode()[:16]).digest()
    return int.from_bytes(digest) / (1 << 56)


def token_of(secret: bytes, payment_id: str) -> str:
    """What a checkout's address ends with: nobody finds another's."""
    return f"{payment_id}.{_mac(secret, payment_id)}"


def payment_of(secret: bytes, token: str) -> str | None:
    """The payment whose checkout a token opens; None where nobody made it."""
    payment_id, _, mac = token.rpartition(".")
    return payment_id if hmac.compare_digest(mac, _mac(secret, payment_id)) else None


def _mac(secret: bytes, payment_id: str) -> str:
    digest = hashlib.blake2b(payment_id.encode(), key=secret, digest_size=_MAC_BYTES).digest()
    return base64.urlsafe_b64encode(digest).decode()
