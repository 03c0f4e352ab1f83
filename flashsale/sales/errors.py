"""Why a merchant's command was refused; the web maps each to a problem document.

SaleError
├── UnknownSaleError            404 unknown_sale: none of that id, or another merchant's
├── UnknownSkuError             404 unknown_sku
├── ValidationFailedError       422 validation_failed: every field at fault, by JSON pointer
├── StaleRevisionError          412 stale_edit: the sale has changed since it was read
├── IllegalTransitionError      409 illegal_transition: not from the state the sale is in
├── UnsafeEditError             409 edit_unsafe: these fields stand in this state
├── SupplyBelowLiveError        409 supply_below_live: too few unsold units to take back
├── SupplyKeyReusedError        422 idempotency_key_reused: the key named another supply
├── UnsafeDurabilityError       503 durability_unsafe: the servers may forget; says what to set
└── EffectPendingError          503 recovering: recorded, Redis could not be told yet
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from flashsale.domain.sales import SaleState


class FieldError(NamedTuple):
    """One field at fault: a JSON pointer (RFC 6901) into the form and one plain sentence."""

    pointer: str
    detail: str


class SaleError(Exception):
    """A refusal. `code` is stable, `status` is the HTTP status it is answered with."""

    code: ClassVar[str] = "validation_failed"
    status: ClassVar[int] = 422
    message: ClassVar[str] = "The request was refused. Nothing was changed."

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.message)


class UnknownSaleError(SaleError):
    """No such sale, or it belongs to another merchant: the answer is the same."""

    code, status, message = "unknown_sale", 404, "There is no such sale."


class UnknownSkuError(SaleError):
    """The sale has no such SKU."""

    code, status, message = "unknown_sku", 404, "The sale has no such SKU."


class FieldsRefusedError(SaleError):
    """A refusal that names fields; `errors` is never empty."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__()
        self.errors = tuple(errors)


class ValidationFailedError(FieldsRefusedError):
    """The form breaks a rule of the contract."""

    message = "Some fields are not valid. Nothing was changed."


class UnsafeEditError(FieldsRefusedError):
    """The fields named may not change while the sale is in this state."""

    code, status = "edit_unsafe", 409
    message = "Some fields cannot change in this state of the sale. Nothing was changed."


class StaleRevisionError(SaleError):
    """If-Match names an older revision; read the sale again and repeat the edit."""

    code, status = "stale_edit", 412
    message = "The sale has changed since. Nothing was changed: read it and edit again."


class IllegalTransitionError(SaleError):
    """The action is not legal in the sale's `state`, the one that the public sees."""

    code, status = "illegal_transition", 409
    message = "The sale is in a state that does not allow this. Nothing was changed."

    def __init__(self, state: SaleState | None = None) -> None:
        super().__init__()
        self.state = state


class SupplyBelowLiveError(SaleError):
    """Fewer units are unsold than the supply would take back."""

    code, status = "supply_below_live", 409
    message = "Fewer units are unsold than this would take back. Nothing was changed."


class SupplyKeyReusedError(SaleError):
    """The idempotency key was sent before with another supply."""

    code, status = "idempotency_key_reused", 422
    message = "This key was sent before with another supply. Nothing was changed."


class UnsafeDurabilityError(SaleError):
    """The servers could lose what a strict sale promises."""

    code, status = "durability_unsafe", 503


class EffectPendingError(SaleError):
    """Postgres has the intent; Redis was not reached. The timekeeper finishes it, or a retry."""

    code, status = "recovering", 503
    message = "Recorded, and carried out as soon as the store answers. Repeating it is safe."
