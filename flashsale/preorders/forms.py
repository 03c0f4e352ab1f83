"""The merchant's and the buyer's forms of pre-orders: shape and types of what is sent."""

from typing import Annotated

from pydantic import Field

from flashsale.domain.stock import SUPPLY_MAX
from flashsale.sales.forms import Form, Instant, Integer, Reason, Sku

WAVE_MAX_CHARACTERS = 64


class LotForm(Form):
    """Incoming supply: it is given to those who wait, first come first served."""

    sku: Sku
    quantity: Annotated[Integer, Field(ge=1, le=SUPPLY_MAX)]
    reason: Reason


class ShipDateForm(Form):
    """Another promised date; `wave` is the id of a supply with a date of its own."""

    sku: Sku
    wave: Annotated[str, Field(min_length=1, max_length=WAVE_MAX_CHARACTERS)] | None = None
    ships_at: Instant
    reason: Reason


class ItemChangeForm(Form):
    """The SKU that a buyer wants instead."""

    sku: Sku
