"""No merchant's call changes anything behind the audit log's back: each is accounted for here."""

from __future__ import annotations

from flashsale.web.openapi import Auth
from flashsale.web.routes import ROUTES

#: The table in which each call's change is seen. A new call that changes something needs a line
#: here, and its table a trigger `noted` (migrations/0007_audit_log.sql, or a later one).
CHANGES = {
    **dict.fromkeys(
        (
            *("create_sale", "edit_sale", "schedule_sale", "pause_sale", "resume_sale"),
            *("close_sale", "cancel_sale"),
        ),
        "sales",
    ),
    "add_supply": "supplies",
    "add_item": "sale_items",
    "refund_order": "refunds",
    "ship_order": "shipments",
    "import_shipments": "shipments",
    "add_lot": "lots",
    "move_ship_date": "ship_dates",
    **dict.fromkeys(
        ("create_webhook", "delete_webhook", "enable_webhook", "rotate_webhook_secret"),
        "webhook_endpoints",
    ),
    "create_api_key": "api_keys",
    "revoke_api_key": "api_keys",
    **dict.fromkeys(
        ("create_buyer_key", "retire_buyer_key", "delete_buyer_key"), "merchant_buyer_keys"
    ),
}
#: What sends again, and changes nothing that is the merchant's.
REPEATS = {"test_webhook", "replay_dead_deliveries", "replay_delivery"}


def test_every_call_that_changes_something_is_accounted_for() -> None:
    merchants = {Auth.READ, Auth.MANAGE, Auth.ADMIN}
    writes = {
        route.handler.__name__
        for route in ROUTES
        if route.auth in merchants and route.method != "GET"
    }
    assert writes == {*CHANGES, *REPEATS}


async def test_every_table_of_theirs_writes_its_changes_down(pool) -> None:
    rows = await pool.fetch(
        "SELECT tgrelid::regclass::text AS t FROM pg_trigger WHERE tgname = 'noted'"
    )
    assert {row["t"] for row in rows} == set(CHANGES.values())
