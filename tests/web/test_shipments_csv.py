"""Lists of shipments as spreadsheets write them: what is read, and which line is named."""

from __future__ import annotations

import pytest

from flashsale.payments.values import ShipmentLine
from flashsale.sales.errors import ValidationFailedError
from flashsale.web.shipments_csv import ERRORS_MAX, parse_shipments

SALE = "abcdefghijkl"
ONE, TWO = SALE + "A" * 20, SALE + "_-" * 10
HEAD = "order_id,carrier,tracking_number"
READ = [ShipmentLine(2, ONE, "SF", "1"), ShipmentLine(3, TWO, "SF", "2")]


def lines(text: str, newline: str = "\n") -> bytes:
    return text.replace("\n", newline).encode()


PLAIN = f"{HEAD}\n{ONE},SF,1\n{TWO},SF,2"

GOOD = {
    "plain": lines(PLAIN),
    "ended": lines(PLAIN + "\n"),
    "CRLF": lines(PLAIN, "\r\n"),
    "CR": lines(PLAIN, "\r"),
    "mixed": f"{HEAD}\r\n{ONE},SF,1\n{TWO},SF,2\r\n".encode(),
    "byte order mark": b"\xef\xbb\xbf" + lines(PLAIN),
    "semicolons": lines(PLAIN.replace(",", ";")),
    "semicolons, mark, CRLF": b"\xef\xbb\xbf" + lines(PLAIN.replace(",", ";"), "\r\n"),
    "quoted": lines(f'"order_id","carrier","tracking_number"\n"{ONE}","SF","1"\n{TWO},"SF",2'),
    "blanks around": lines(f" order_id , carrier,tracking_number\n{ONE} , SF ,1\n {TWO},SF, 2"),
    "upper case": lines(PLAIN.replace(HEAD, HEAD.upper())),
    "another order": lines(f"carrier,tracking_number,order_id\nSF,1,{ONE}\nSF,2,{TWO}"),
    "more columns": lines(f"id,sku,carrier,tracking_number\n{ONE},a,SF,1\n{TWO},b,SF,2"),
    "lines of orders that wait": lines(f"{HEAD}\n{ONE},SF,1\n{TWO},SF,2\n{SALE}{'B' * 20},,"),
    "empty lines at the end": lines(PLAIN + "\n\n,,\n\n"),
}


@pytest.mark.parametrize("raw", GOOD.values(), ids=GOOD)
def test_reads(raw: bytes) -> None:
    assert parse_shipments(raw, SALE) == READ


def test_keeps_what_belongs_to_a_cell() -> None:
    read = parse_shipments(lines(f'{HEAD}\n{ONE},"顺丰, ""SF""; 速运",\'=1+1\n'), SALE)
    assert read == [ShipmentLine(2, ONE, '顺丰, "SF"; 速运', "=1+1")]


def test_our_own_export_reads_back() -> None:
    """A cell that our export marked for spreadsheets means what it meant before."""
    read = parse_shipments(lines(f"id,carrier,tracking_number\n{ONE},'-SF,'+49"), SALE)
    assert read == [ShipmentLine(2, ONE, "-SF", "+49")]


BAD = {
    "nothing": (b"", ["/lines/1"] * 3),
    "a header alone": (lines(HEAD), ["/lines/1"]),
    "no header": (lines(f"{ONE},SF,1"), ["/lines/1"] * 3),
    "a column missing": (lines(f"order_id,carrier\n{ONE},SF"), ["/lines/1"]),
    "a column twice": (lines(f"{HEAD},carrier\n{ONE},SF,1,SF"), ["/lines/1"]),
    "an order twice over": (lines(f"id,{HEAD}\n{ONE},{ONE},SF,1"), ["/lines/1"]),
    "a cell missing": (lines(f"{PLAIN}\n{ONE},SF"), ["/lines/4"]),
    "a cell more": (lines(f"{HEAD}\n{ONE},SF,1,2\n{TWO},SF,2"), ["/lines/2"]),
    "another sale's order": (
        lines(f"{HEAD}\n{'b' * 12}{'A' * 20},SF,1"),
        ["/lines/2/order_id"],
    ),
    "no order": (
        lines(f"{HEAD}\n,SF,1\n<script>,SF,1"),
        ["/lines/2/order_id", "/lines/3/order_id"],
    ),
    "the same order again": (lines(f"{PLAIN}\n{ONE},SF,1"), ["/lines/4/order_id"]),
    "no carrier": (lines(f"{HEAD}\n{ONE},,1"), ["/lines/2/carrier"]),
    "a carrier too long": (lines(f"{HEAD}\n{ONE},{'c' * 101},1"), ["/lines/2/carrier"]),
    "a control character": (lines(f"{HEAD}\n{ONE},S\x07F,1"), ["/lines/2/carrier"]),
    "a NUL": (lines(f"{HEAD}\n{ONE},SF,1\x000"), ["/lines/2/tracking_number"]),
    "a line break inside": (
        lines(f'{HEAD}\n{ONE},"S\nF",1\n{TWO},,2'),
        ["/lines/2/carrier", "/lines/4/carrier"],
    ),
    "an open quotation mark": (lines(f'{HEAD}\n{ONE},"SF,1\n{TWO},SF,2'), ["/lines/2"]),
    "a stray quotation mark": (lines(f'{HEAD}\n{ONE},SF,1\n{TWO},"S"F,2'), ["/lines/3"]),
    "Latin-1": (f"{HEAD}\n{ONE},SF,1\n{TWO},é,2".encode("latin-1"), ["/lines/3"]),
    "UTF-16": (lines(PLAIN).decode().encode("utf-16"), ["/lines/1"]),
    "nothing sent yet": (lines(f"{HEAD}\n{ONE},,\n{TWO},,"), ["/lines/1"]),
    "every fault at once": (
        lines(f"{HEAD}\n{ONE},S\x07F,\nx,SF,1\n{TWO},SF"),
        ["/lines/2/carrier", "/lines/2/tracking_number", "/lines/3/order_id", "/lines/4"],
    ),
}


@pytest.mark.parametrize(("raw", "pointers"), BAD.values(), ids=BAD)
def test_refuses_and_names_the_line(raw: bytes, pointers: list[str]) -> None:
    with pytest.raises(ValidationFailedError) as refusal:
        parse_shipments(raw, SALE)
    assert [error.pointer for error in refusal.value.errors] == pointers
    told = "".join(error.detail for error in refusal.value.errors)
    assert "<script>" not in told
    assert ONE not in told


def test_names_no_more_faults_than_one_can_read() -> None:
    raw = lines(HEAD + "\nx,SF,1" * (ERRORS_MAX + 1))
    with pytest.raises(ValidationFailedError) as refusal:
        parse_shipments(raw, SALE)
    assert len(refusal.value.errors) == ERRORS_MAX
