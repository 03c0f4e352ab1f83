"""The merchant's forms: shape and types of what is sent. Must never convert, guess or ignore."""

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from flashsale.domain.lanes import LANES_MAX
from flashsale.domain.money import AMOUNT_MAX
from flashsale.domain.stock import SUPPLY_MAX
from flashsale.sales.errors import FieldError, ValidationFailedError
from flashsale.sales.wording import sentence

ITEMS_MAX = 100  # the scripts' own bound
NAME_MAX_CHARACTERS = 200
SKU_MAX_CHARACTERS = 64
REASON_MAX_CHARACTERS = 200
HOLD_SECONDS_MAX = 604_800  # a week; longer is a pre-order's business, not a hold's
RATE_PER_SECOND_MAX = 1_000_000
HOURS_MIN, HOURS_MAX = 0.001, 8_784  # seconds for those who rehearse a campaign; a leap year
DAYS_MAX = 366
CANCEL_MINUTES_MAX = 527_040  # a leap year
POINTER_MAX_CHARACTERS = 200

_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?"
    r"(?P<offset>[Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
# Control characters, lone surrogates, line and paragraph separators: none belongs in one line.
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
_Form = TypeVar("_Form", bound=BaseModel)


def _line(value: str) -> str:
    if any(unicodedata.category(character) in _UNPRINTABLE for character in value):
        raise PydanticCustomError("text", "Control characters are not allowed.")
    if not value or value != value.strip():
        raise PydanticCustomError("text", "Must not be empty, nor begin or end with a space.")
    return value


def _integral(value: Any) -> Any:
    """JSON has one kind of number: 3.0 is the integer 3 (JSON Schema 2020-12, 6.1.1)."""
    return int(value) if type(value) is float and value.is_integer() else value


def _instant(value: Any) -> datetime:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value
    matched = _RFC3339.fullmatch(value) if isinstance(value, str) else None
    if matched is None:
        raise PydanticCustomError("instant", "Must be an RFC 3339 time such as {example}.", _TIME)
    if matched["offset"] is None:
        raise PydanticCustomError("instant", "Needs an offset, as in {example}.", _TIME)
    try:
        instant = datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise PydanticCustomError("instant", "There is no such time.") from None
    # Redis decides by milliseconds; what is finer would be lost between the two stores.
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


_TIME = {"example": "2026-11-11T10:00:00.000Z"}

Integer = Annotated[int, BeforeValidator(_integral)]
Instant = Annotated[datetime, BeforeValidator(_instant)]
Name = Annotated[str, Field(max_length=NAME_MAX_CHARACTERS), AfterValidator(_line)]
Sku = Annotated[str, Field(max_length=SKU_MAX_CHARACTERS), AfterValidator(_line)]
Reason = Annotated[str, Field(max_length=REASON_MAX_CHARACTERS), AfterValidator(_line)]
BuyerLimit = Annotated[Integer, Field(ge=1, le=SUPPLY_MAX)]
HoldSeconds = Annotated[Integer, Field(ge=1, le=HOLD_SECONDS_MAX)]
Lanes = Annotated[Integer, Field(ge=1, le=LANES_MAX)]
Hours = Annotated[float, Field(ge=HOURS_MIN, le=HOURS_MAX)]
Kind = Literal["launch", "preorder", "draw"]
Durability = Literal["strict", "relaxed"]


class Form(BaseModel):
    """A request body: what it does not name is refused, nothing is converted."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class MoneyForm(Form):
    """Integer minor units with an ISO 4217 code."""

    amount: Annotated[Integer, Field(ge=0, le=AMOUNT_MAX)]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


class ItemForm(Form):
    """A SKU; its position among the items is its number in the sale."""

    sku: Sku
    name: Name
    price: MoneyForm
    supply: Annotated[Integer, Field(ge=0, le=SUPPLY_MAX)]
    deposit: MoneyForm | None = None
    ships_at: Instant | None = None


class AdmissionForm(Form):
    """How buyers are let in: everyone at once, or through a waiting room."""

    mode: Literal["open", "queue"]
    rate_per_second: Annotated[Integer, Field(ge=1, le=RATE_PER_SECOND_MAX)] | None = None
    prequeue_opens_at: Instant | None = None
    shuffle: bool | None = None


class RegistrationForm(Form):
    """Sign-up before the launch."""

    opens_at: Instant
    closes_at: Instant
    required: bool


class CancellationForm(Form):
    """What a buyer who has paid may do: within so many minutes of it, or until it is shipped."""

    paid: Literal["refund", "refused"] = "refund"
    within_minutes: Annotated[Integer, Field(ge=1, le=CANCEL_MINUTES_MAX)] | None = None


class BalanceForm(Form):
    """When the rest of a pre-order is due: so long after its allocation, or by a date for all.

    `reminder_hours` before it is due the buyer is reminded; then saved deposits are charged every
    `retry_hours` for `grace_hours`.
    """

    mode: Literal["on_allocation", "by_date"] = "on_allocation"
    opens_at: Instant | None = None
    due_at: Instant | None = None
    window_hours: Hours | None = None
    grace_hours: Hours = 72
    retry_hours: Hours = 24
    reminder_hours: Annotated[float, Field(ge=0, le=HOURS_MAX)] | None = None


class PreorderForm(Form):
    """What becomes of a deposit; a moved ship date frees its buyer for `free_cancel_days`."""

    balance: BalanceForm = BalanceForm()
    on_default: Literal["forfeit", "refund"] = "refund"
    free_cancel_days: Annotated[float, Field(ge=0, le=DAYS_MAX)] = 14


Items = Annotated[list[ItemForm], Field(min_length=1, max_length=ITEMS_MAX)]


class SaleForm(Form):
    """What a merchant says to create a sale."""

    name: Name
    kind: Kind = "launch"
    starts_at: Instant
    ends_at: Instant
    items: Items
    per_buyer_limit: BuyerLimit
    hold_seconds: HoldSeconds
    admission: AdmissionForm = AdmissionForm(mode="open")
    registration: RegistrationForm | None = None
    cancellation: CancellationForm = CancellationForm()
    preorder: PreorderForm | None = None
    published_supply: bool = False
    lanes: Lanes = 1
    durability: Durability = "strict"


class SalePatch(Form):
    """An edit: only what is named changes. `null` takes a `registration` or `preorder` away."""

    name: Name | SkipJsonSchema[None] = None
    kind: Kind | SkipJsonSchema[None] = None
    starts_at: Instant | SkipJsonSchema[None] = None
    ends_at: Instant | SkipJsonSchema[None] = None
    items: Items | SkipJsonSchema[None] = None
    per_buyer_limit: BuyerLimit | SkipJsonSchema[None] = None
    hold_seconds: HoldSeconds | SkipJsonSchema[None] = None
    admission: AdmissionForm | SkipJsonSchema[None] = None
    registration: RegistrationForm | None = None
    cancellation: CancellationForm | SkipJsonSchema[None] = None
    preorder: PreorderForm | None = None
    published_supply: bool | SkipJsonSchema[None] = None
    lanes: Lanes | SkipJsonSchema[None] = None
    durability: Durability | SkipJsonSchema[None] = None


NULLABLE = frozenset({"registration", "preorder"})


class SupplyForm(Form):
    """A wave of units, now or at an instant; a negative quantity takes unsold units back.

    `ships_at`: a pre-order's wave with a promise of its own.
    """

    sku: Sku
    quantity: Annotated[Integer, Field(ge=-SUPPLY_MAX, le=SUPPLY_MAX)]
    at: Instant | None = None
    reason: Reason
    ships_at: Instant | None = None


def parse_form(form: type[_Form], body: Mapping[str, Any]) -> _Form:
    """A decoded JSON object as a form.

    Raises ValidationFailedError with one error for each field at fault; values are never repeated.
    """
    try:
        parsed = form.model_validate(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise ValidationFailedError(
            [
                FieldError(
                    pointer(*each["loc"]), sentence(each["type"], each["msg"], each.get("ctx", {}))
                )
                for each in found
            ]
        ) from None
    if isinstance(parsed, SalePatch):
        nulls = [
            name
            for name in sorted(parsed.model_fields_set - NULLABLE)
            if getattr(parsed, name) is None
        ]
        if nulls:
            raise ValidationFailedError(
                [FieldError(pointer(n), "Must not be null.") for n in nulls]
            )
    return parsed


def pointer(*steps: str | int) -> str:
    """The JSON pointer (RFC 6901) of a field; an overlong one is cut."""
    escaped = (str(step).replace("~", "~0").replace("/", "~1") for step in steps)
    whole = "".join(f"/{step}" for step in escaped)[:POINTER_MAX_CHARACTERS]
    return whole.encode(errors="replace").decode()
