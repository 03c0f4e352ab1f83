"""What a payment provider is to the engine: seven calls and four values. No provider in particular.

ProviderError
├── ProviderUnavailableError   no answer, or "try again": the effect is unknown, repeat with the key
├── ProviderRefusedError       a definite no; repeating it changes nothing
└── CallbackError              a callback that is not taken
    ├── SignatureError         not signed by the provider, or not these bytes (401)
    ├── StampError             signed too long ago, or in the future (400)
    └── MalformedError         signed, and yet not readable (400)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

#: How far a callback's stamp may be from our clock (Standard Webhooks, and Stripe's own default).
STAMP_SECONDS_MAX = 300


class ProviderError(Exception):
    """Something between us and a provider; one line, without secrets."""


class ProviderUnavailableError(ProviderError):
    """No answer, or a passing refusal (429, 5xx): ask again with the same key."""


class ProviderRefusedError(ProviderError):
    """The provider said no for good (a 4xx other than 429)."""


class CallbackError(ProviderError):
    """A callback that is not taken."""


class SignatureError(CallbackError):
    """Not signed with any secret in use, or another body was signed."""


class StampError(CallbackError):
    """The stamp is further than STAMP_SECONDS_MAX from our clock."""


class MalformedError(CallbackError):
    """The body is signed and is not what the provider's documents say."""


class MoneyKind(StrEnum):
    """What a provider tells us; kinds we have no use for are `other`."""

    CAPTURED = "captured"
    DECLINED = "declined"
    EXPIRED = "expired"
    REFUNDED = "refunded"
    REFUND_FAILED = "refund_failed"
    OTHER = "other"


class Asked(NamedTuple):
    """A payment to open or to charge; `payment_id` is its key: asking twice opens one.

    `amount` is in minor units; `save` asks that the buyer may be charged again for the balance.
    """

    payment_id: str
    order_id: str
    amount: int
    currency: str
    description: str
    expires_at_ms: int
    save: bool = False


class Checkout(NamedTuple):
    """A payment the provider knows: its own name for it, and where the buyer pays."""

    ref: str
    url: str | None


class ProviderEvent(NamedTuple):
    """One callback, verified. `payment_id`, `refund_id` are our own names, as we sent them.

    `id` is the provider's and unique for ever; `fee` is what the provider keeps of a capture.
    """

    id: str
    kind: MoneyKind
    type: str
    payment_id: str | None
    refund_id: str | None
    ref: str | None
    amount: int
    currency: str
    fee: int
    occurred_at_ms: int
    payload: Mapping[str, Any]


class StatementLine(NamedTuple):
    """One movement as the provider books it: `kind` is captured or refunded."""

    event_id: str
    kind: MoneyKind
    payment_id: str | None
    refund_id: str | None
    amount: int
    currency: str
    fee: int
    occurred_at_ms: int


class Provider(Protocol):
    """A payment provider. Every call but `verify` is bounded in time and raises ProviderError."""

    @property
    def name(self) -> str:
        """`sandbox` or `stripe`, as the ledger names it."""

    async def open(self, asked: Asked) -> Checkout:
        """Open a payment that the buyer completes on the provider's page."""

    async def charge(self, asked: Asked, saved_ref: str) -> Checkout:
        """Charge whoever paid `saved_ref`, without them; the outcome comes as a callback."""

    async def expire(self, ref: str) -> None:
        """Close an open payment, so that it cannot be paid any more; closing it twice is fine."""

    async def refund(self, refund_id: str, ref: str, amount: int) -> str:
        """Give back part of a captured payment, once for each refund id; the provider's name.

        One that was refused, or has failed, is tried anew.
        """

    async def movements(self, ref: str) -> Sequence[ProviderEvent]:
        """What came in and went back of one payment, oldest first, as its callbacks tell it.

        For when these are lost: taking both has one effect. They have the same ids where the
        provider can be asked for those.
        """

    def verify(self, headers: Mapping[str, str], body: bytes, now: float) -> ProviderEvent:
        """Check a callback's signature over its very bytes and read it. CallbackError."""

    def statement(self, after: str | None) -> AsyncIterator[StatementLine]:
        """Every movement behind the event `after`, oldest first, as the provider books it."""

    async def close(self) -> None:
        """Close connections."""
