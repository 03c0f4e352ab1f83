"""Bad input and its answer: callbacks of providers, merchants' forms and lists, configuration."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.hostile import catalogue as c
from tests.hostile.catalogue import Row, Scene
from tests.sales.shop import item
from tests.sandbox.house import NEW_SECRET, SECRET
from tests.web.house import House

FAR = 330  # seconds; a stamp may be 300 off
CALLBACKS = {
    "good": Row(c.tell(), 200),
    "no signature": Row(c.forged(lambda h, b: ({"webhook-id": h["webhook-id"]}, b)), 401, "sign"),
    "bad signature": Row(
        c.forged(lambda h, b: ({**h, "webhook-signature": "v1,AAAA"}, b)), 401, "sign"
    ),
    "signature of no text": Row(
        c.forged(lambda h, b: ({**h, "webhook-signature": "v1,\udcff"}, b)), 401, "sign"
    ),
    "another secret": Row(c.tell({"secrets": ("whsec_" + "c3RyYW5nZXI" * 4,)}), 401, "sign"),
    "serialised again": Row(
        c.forged(lambda h, b: (h, json.dumps(json.loads(b), separators=(",", ":")).encode())),
        401,
        "sign",
    ),
    "too old": Row(c.tell({"at": int(time.time()) - FAR}), 400, "stamp_refused"),
    "too new": Row(c.tell({"at": int(time.time()) + FAR + 3600}), 400, "stamp_refused"),
    "the old secret in rotation": Row(c.tell({"secrets": (SECRET,)}), 200),
    "the new secret in rotation": Row(c.tell({"secrets": (NEW_SECRET,)}), 200),
    "both": Row(c.tell({"secrets": (NEW_SECRET, SECRET)}), 200),
    "unknown type": Row(c.tell(type_="disputed"), 200),
    "unknown payment": Row(c.tell(payment={"id": "pay_nobody"}), 202),
    "wrong amount": Row(c.tell(amount=1), 200),
    "wrong currency": Row(c.tell(currency="EUR"), 200),
    "refund before payment": Row(c.tell(type_="refunded", refund_id=None), 200),
    "amount below nothing": Row(c.tell(amount=-1), 400, "callback_malformed"),
    "amount beyond the database": Row(c.tell(amount=2**63), 400, "callback_malformed"),
    "NUL": Row(c.tell(memo="\0"), 400, "callback_malformed"),
    "large": Row(c.tell(memo="m" * 70_000), 413, "body_too_large"),
}
OUTCOMES = {
    "good": "applied",
    "the old secret in rotation": "applied",
    "the new secret in rotation": "applied",
    "both": "applied",
    "unknown type": "ignored",
    "unknown payment": "unmatched",
    "wrong amount": "quarantined",
    "wrong currency": "quarantined",
    "refund before payment": "received",
}
FIELDS = {
    "end before start": (c.sale(ends_at="2026-01-01T00:00:00Z"), "/ends_at"),
    "naive time": (c.sale(ends_at="2036-01-01T00:00:00"), "/ends_at"),
    "no such day": (c.sale(ends_at="2036-02-30T00:00:00Z"), "/ends_at"),
    "price below nothing": (
        c.sale(items=[item(price={"amount": -1, "currency": "CNY"})]),
        "/items/0/price/amount",
    ),
    "price as text": (
        c.sale(items=[item(price={"amount": "1", "currency": "CNY"})]),
        "/items/0/price/amount",
    ),
    "no such currency": (
        c.sale(items=[item(price={"amount": 1, "currency": "cny"})]),
        "/items/0/price/currency",
    ),
    "supply below nothing": (c.sale(items=[item(supply=-1)]), "/items/0/supply"),
    "supply above 10**9": (c.sale(items=[item(supply=10**9 + 1)]), "/items/0/supply"),
    "limit above supply": (c.sale(per_buyer_limit=11), "/per_buyer_limit"),
    "limit 0": (c.sale(per_buyer_limit=0), "/per_buyer_limit"),
    "duplicate SKU": (c.sale(items=[item(), item()]), "/items/1/sku"),
    "no SKU": (c.sale(items=[]), "/items"),
    "hold of no time": (c.sale(hold_seconds=0), "/hold_seconds"),
    "unknown field": (c.sale(colour="red"), "/colour"),
    "a name with NEL": (c.sale(name="a\x85b"), "/name"),
    "a cut to a fraction": (
        c.manage("POST", "/sales/{sale}/supply", {"sku": "a", "quantity": 0.5, "reason": "r"}),
        "/quantity",
    ),
}
SUPPLY = {"sku": "mi3-16", "quantity": -10_000, "reason": "cut"}
REFUND, KEY = {"reason": "r"}, {"Idempotency-Key": "refund"}
CSV = {"Content-Type": "text/csv"}
HEAD = b"order_id,carrier,tracking_number\n"


def listed(data: bytes, **headers: str):
    return c.manage("POST", "/sales/{sale}/shipments.csv", data=data, headers=CSV | headers)


MERCHANT = {
    **{name: Row(send, 422, None, (pointer,)) for name, (send, pointer) in FIELDS.items()},
    "scheduled in the past": Row(c.sale(starts_at="2020-01-01T00:00:00Z"), 422, None),
    "cut below live": Row(
        c.manage("POST", "/sales/{sale}/supply", SUPPLY), 409, "supply_below_live"
    ),
    "stale edit": Row(
        c.manage("PATCH", "/sales/{draft}", {"name": "n"}, headers={"If-Match": '"99"'}),
        412,
        "stale_edit",
    ),
    "edit without a tag": Row(
        c.manage("PATCH", "/sales/{draft}", {"name": "n"}), 428, "precondition_required"
    ),
    "unsafe edit": Row(c.manage("POST", "/sales/{over}/schedule"), 409, "illegal_transition"),
    "no key": Row(c.manage("GET", "/sales", bearer="fs_nothing"), 401, "api_key_invalid"),
    "a long key": Row(c.manage("GET", "/sales", bearer="fs_" * 700), 400, "token_too_long"),
    "refund of nothing paid": Row(
        c.manage("POST", "/orders/{order}/refunds", REFUND, headers=KEY),
        409,
        "order_not_refundable",
    ),
    "refund without a key": Row(
        c.manage("POST", "/orders/{order}/refunds", REFUND), 400, "idempotency_key_missing"
    ),
    "refund of a fraction": Row(
        c.manage(
            "POST",
            "/orders/{order}/refunds",
            {**REFUND, "amount": {"amount": 0.5, "currency": "CNY"}},
            headers=KEY,
        ),
        422,
        None,
        ("/amount/amount",),
    ),
    "shipment of nothing paid": Row(
        c.manage("POST", "/orders/{order}/shipment", {"carrier": "SF", "tracking_number": "1"}),
        409,
        "order_not_shippable",
    ),
    "a list that is no list": Row(listed(b"\xff\xfe"), 422, None, ("/lines/1",)),
    "a list with a NUL": Row(listed(HEAD + b"\0,SF,1"), 422, None, ("/lines/2/order_id",)),
    "a list of mixed line ends": Row(
        listed(b"\xef\xbb\xbf" + HEAD.replace(b",", b";") + b"x;SF;1\r\ny;SF;1\rz;SF;1"),
        422,
        None,
        ("/lines/2/order_id", "/lines/3/order_id", "/lines/4/order_id"),
    ),
    "a huge list": Row(listed(HEAD + b" " * 2**20), 413, "body_too_large"),
    "a packed list": Row(
        listed(HEAD, **{"Content-Encoding": "gzip"}), 415, "unsupported_media_type"
    ),
    "a list of another type": Row(
        c.manage("POST", "/sales/{sale}/shipments.csv", data=HEAD), 415, "unsupported_media_type"
    ),
    "a webhook to our own network": Row(
        c.manage("POST", "/webhooks", {"url": "https://169.254.169.254/"}), 422, None, ("/url",)
    ),
    "a webhook by another protocol": Row(
        c.manage("POST", "/webhooks", {"url": "file:///etc/passwd"}), 422, None, ("/url",)
    ),
}
LINES = {"webhooks": CALLBACKS, "merchant": MERCHANT}
ROWS = [
    pytest.param(name, row, id=f"{line}: {name}")
    for line, rows in LINES.items()
    for name, row in rows.items()
]
ELSEWHERE = {
    "duplicate callback": "tests/web/test_callbacks.py::"
    "test_a_callback_is_taken_once_however_often_it_comes",
    "Postgres down": "tests/web/test_callbacks.py::"
    "test_while_postgres_is_away_the_provider_is_told_to_come_again",
    "refund before payment applied later": "tests/web/test_callbacks.py::"
    "test_money_back_before_it_came_is_kept_and_applied_later",
    "Stripe's scheme": "tests/payments/providers/test_conformance.py::test_",
    "viewer's write audited": "tests/web/test_security_audit_log.py::"
    "test_a_write_without_the_scope_is_logged_and_a_read_is_not",
    "default or short secrets, wrong units": "tests/config/test_settings.py::"
    "test_what_is_wrong_is_refused_in_one_line_that_shows_no_secret",
    "hold below the payment minimum": "tests/sales/test_forms.py::"
    "test_a_hold_needs_the_time_to_pay",
    "unreachable server": "tests/cli/test_usage.py::test_servers_and_settings_that_do_not_work",
    "unsafe durability": "tests/supervisor/test_processes.py::test_",
}


@pytest.fixture(scope="module")
async def scene(house: House) -> Scene:
    return await c.set_scene(house)


@pytest.mark.parametrize(("name", "row"), ROWS)
async def test_the_answer_is_the_one_of_the_catalogue(scene: Scene, name: str, row: Row) -> None:
    reply = await row.send(scene)
    assert reply.status == row.status, reply.text
    if reply.status >= 400:
        code = {None: "validation_failed", "sign": "signature_invalid"}.get(row.code, row.code)
        assert reply.code == code
    elif name in OUTCOMES:
        assert reply.json == {"outcome": OUTCOMES[name]}
    if row.pointers is not None:
        assert tuple(reply.pointers) == row.pointers


async def test_a_script_in_a_name_is_text_and_a_formula_none(scene: Scene) -> None:
    """Names come back as JSON and nothing else; cells that spreadsheets calculate are marked."""
    made = await c.sale(name="<script>alert(1)</script>", items=[item(sku="=1+1")])(scene)
    assert made.status == 201
    assert made.headers["Content-Type"].startswith("application/json")
    assert made.headers["X-Content-Type-Options"] == "nosniff"
    assert made.json["name"] == "<script>alert(1)</script>"
    scheduled = await scene.house.manage("POST", f"/sales/{made.json['id']}/schedule")
    assert scheduled.status == 200
    for formula in ("=1+1", "+1", "-1", "@SUM(A1)"):
        sale = await scene.house.sale(items=[item(sku=formula)])
        await scene.house.order(sale, "=cmd()", sku=formula)
        await scene.house.settle()
        exported = await scene.house.manage("GET", f"/sales/{sale}/orders.csv")
        cells = [cell.strip('"') for cell in exported.text.split("\r\n")[1].split(",")]
        assert f"'{formula}" in cells
        assert not [cell for cell in cells if cell[:1] in "=+@" and cell]


async def test_a_viewer_writes_nothing(scene: Scene) -> None:
    made = await scene.house.manage("POST", "/api-keys", {"label": "eye", "scope": "read"})
    for path in ("/sales/{sale}/pause", "/sales/{sale}/supply", "/orders/{order}/refunds"):
        reply = await c.manage("POST", path, {}, bearer=made.json["key"])(scene)
        assert (reply.status, reply.code) == (403, "scope_missing")


CONFIGURATION = {
    "unknown key": ({"FLASHSALE_NOTHING_LIKE_IT": "1"}, "is not a setting"),
    "unreachable server": (
        {
            "FLASHSALE_REDIS_URL": "redis://127.0.0.1:1",
            "FLASHSALE_POSTGRES_DSN": "postgresql://u@127.0.0.1:1/d",
            "FLASHSALE_ORDER_ID_SECRET": "kX7-pQ2_vN9sW4tZ8bR5yL1mC6hJ3gF0",
        },
        "cannot be reached",
    ),
}


@pytest.mark.parametrize(("variables", "says"), CONFIGURATION.values(), ids=CONFIGURATION)
def test_a_process_refuses_to_start_in_one_line(
    tmp_path: Path, variables: dict[str, str], says: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "flashsale", "web", "--port", "0"],
        env=variables,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    [line] = ended.stderr.strip().splitlines()
    assert says in line


@pytest.mark.parametrize("named", ELSEWHERE.values(), ids=ELSEWHERE)
def test_what_is_held_elsewhere_is_there(named: str) -> None:
    path, _, function = named.partition("::")
    assert f"def {function}" in Path(__file__).parents[2].joinpath(path).read_text()
