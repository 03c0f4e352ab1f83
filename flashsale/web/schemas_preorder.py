"""The shapes of pre-orders' answers, beside the forms of `flashsale.preorders`."""

from datetime import datetime

from flashsale.web.schemas import View


class LotView(View):
    """Incoming supply; `allocated` of its units are given to orders, first come first served."""

    id: str
    sale_id: str
    sku: str
    quantity: int
    allocated: int
    reason: str
    created_at: datetime


class LotPage(View):
    """A page of lots, oldest first."""

    items: list[LotView]
    next_cursor: str | None


class ShipDateView(View):
    """A promised date that was moved; `wave` is a supply's id, null for the base supply.

    Those affected may cancel freely until `free_cancel_until`.
    """

    id: str
    sale_id: str
    sku: str
    wave: str | None
    previous: datetime | None
    ships_at: datetime
    reason: str
    free_cancel_until: datetime
    moved_at: datetime


class ShipDatePage(View):
    """A page of moved dates, oldest first."""

    items: list[ShipDateView]
    next_cursor: str | None
