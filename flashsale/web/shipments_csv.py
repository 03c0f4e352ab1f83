"""A merchant's list of shipments, read as spreadsheets write it. Never guesses at a bad line.

A header row names the columns `order_id` (or `id`, as our own export does), `carrier` and
`tracking_number` in any order; others are left alone, and so is a line without carrier and number:
an export, filled in for what was sent, is a list. Comma or semicolon, CRLF or LF or both, with or
without a byte order mark.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from flashsale.domain.identity import split_order_id
from flashsale.payments.values import ShipmentLine
from flashsale.sales.errors import FieldError, ValidationFailedError
from flashsale.sales.forms import parse_form
from flashsale.web.render_merchant import FORMULA_STARTS
from flashsale.web.schemas_money import ShipmentForm

CSV_MAX_BYTES = 1_048_576
ERRORS_MAX = 100
_COLUMNS = ("order_id", "carrier", "tracking_number")
_ALIASES = {"id": "order_id", "order": "order_id", "tracking": "tracking_number"}


def parse_shipments(raw: bytes, sale_id: str) -> list[ShipmentLine]:
    """The lines of a list, each a shipment of an order of the sale.

    ValidationFailedError: each pointer is `/lines/{number}`, counted from 1 for the header, with
    the column behind it where one cell is at fault.
    """
    rows = _rows(_text(raw))
    _, header = next(rows, (1, []))
    places = _places(header)
    read = _Reading(sale_id)
    for number, cells in rows:
        if not cells:
            continue  # spreadsheets end a list with empty lines
        if len(cells) != len(header):
            read.fault(number, f"Has {len(cells)} cells where the header has {len(header)}.")
            continue
        line = {name: _plain(cells[place]) for name, place in places.items()}
        if line["carrier"] or line["tracking_number"]:
            read.line(number, line)
    if not read.lines and not read.errors:
        read.fault(1, "No line names a carrier and a tracking number.")
    if read.errors:
        raise ValidationFailedError(read.errors[:ERRORS_MAX])
    return read.lines


class _Reading:
    """What was read so far, and what was wrong with it."""

    def __init__(self, sale_id: str) -> None:
        self.lines: list[ShipmentLine] = []
        self.errors: list[FieldError] = []
        self._sale_id = sale_id
        self._seen: dict[str, int] = {}

    def fault(self, number: int, detail: str, column: str = "") -> None:
        self.errors.append(FieldError(f"/lines/{number}{column}", detail))

    def line(self, number: int, cells: dict[str, str]) -> None:
        order = cells.pop("order_id")
        parts = split_order_id(order)
        if parts is None or parts[0] != self._sale_id:
            self.fault(number, "Is not an order of this sale.", "/order_id")
            return
        before = self._seen.setdefault(order, number)
        if before != number:
            self.fault(number, f"Stands in line {before} already.", "/order_id")
            return
        try:
            form = parse_form(ShipmentForm, cells)
        except ValidationFailedError as refusal:
            for error in refusal.errors:
                self.fault(number, error.detail, error.pointer)
            return
        self.lines.append(ShipmentLine(number, order, form.carrier, form.tracking_number))


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = raw.count(b"\n", 0, error.start) + 1
        fault = FieldError(f"/lines/{number}", "Is not UTF-8; save the list as CSV UTF-8.")
        raise ValidationFailedError([fault]) from None


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Rows with the number of the line each begins on."""
    end = min((at for at in (text.find("\r"), text.find("\n")) if at >= 0), default=len(text))
    delimiter = ";" if text.count(";", 0, end) > text.count(",", 0, end) else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    begins = 1
    try:
        for row in reader:
            yield begins, [cell.strip() for cell in row] if any(map(str.strip, row)) else []
            begins = reader.line_num + 1
    except csv.Error:
        fault = FieldError(f"/lines/{begins}", "A quotation mark is not closed, or not doubled.")
        raise ValidationFailedError([fault]) from None


def _places(header: list[str]) -> dict[str, int]:
    names = [_ALIASES.get(name.lower(), name.lower()) for name in header]
    errors = [
        FieldError("/lines/1", f"The header needs one column {name}.")
        for name in _COLUMNS
        if names.count(name) != 1
    ]
    if errors:
        raise ValidationFailedError(errors)
    return {name: names.index(name) for name in _COLUMNS}


def _plain(cell: str) -> str:
    """A cell without the mark by which our export keeps spreadsheets from calculating."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA_STARTS) else cell
