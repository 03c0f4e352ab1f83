"""The money side of the whole web: the real sandbox, the payment desks, and signed callbacks."""

from __future__ import annotations

import contextlib
import itertools
import json
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from standardwebhooks import Webhook

from flashsale.orders.service import OrderDesk
from flashsale.payments.applying import Applying
from flashsale.payments.cancel import Cancelling
from flashsale.payments.fulfilment import Fulfilment
from flashsale.payments.giving import Giving
from flashsale.payments.handlers import handlers
from flashsale.payments.intake import Intake
from flashsale.payments.opening import Opening
from flashsale.payments.outbox import Bounds, Outbox
from flashsale.payments.refunds import Refunds
from flashsale.payments.service import PaymentDesk
from flashsale.payments.stock import Stock
from flashsale.payments.values import MoneyCounters
from flashsale.preorders.service import PreorderService
from flashsale.web.deps import MoneyDesks
from tests.sales.shop import Shop
from tests.sandbox.house import NEW_SECRET, SECRET, open_house
from tests.sandbox.house import House as Sandbox

CHECKOUT_MS = 900_000
_events = itertools.count(1)


@dataclass(frozen=True)
class Till:
    """Desks on the shop's stores; `outbox` does what the dispatch process would."""

    desks: MoneyDesks
    outbox: Outbox
    sandbox: Sandbox


@contextlib.asynccontextmanager
async def open_till(shop: Shop, desk: OrderDesk) -> AsyncIterator[Till]:
    """A till whose provider is a sandbox of its own."""
    with tempfile.TemporaryDirectory() as folder:
        async with open_house(Path(folder) / "sandbox.db", trusts=(SECRET, NEW_SECRET)) as sandbox:
            till = _till(shop, desk, sandbox)
            yield till
            await till.desks.desk.stop()


def _till(shop: Shop, desk: OrderDesk, sandbox: Sandbox) -> Till:
    def clock() -> datetime:
        return datetime.now(UTC)

    providers = {"sandbox": sandbox.provider}
    counters = MoneyCounters()
    stock = Stock(shop.pool, shop.store)
    intake = Intake(shop.pool, counters)
    opening = Opening(shop.pool, stock, providers, intake.take, clock)
    giving = Giving(shop.pool, stock, providers, counters)
    desks = MoneyDesks(
        desk=PaymentDesk(shop.pool, shop.store, opening, "sandbox", clock, checkout_ms=CHECKOUT_MS),
        intake=intake,
        refunds=Refunds(shop.pool),
        cancelling=Cancelling(
            shop.pool,
            desk,
            stock,
            giving,
            clock,
            free_cancel=PreorderService(shop.pool, clock).may_cancel_freely,
        ),
        fulfilment=Fulfilment(shop.pool),
        providers=providers,
    )
    work = handlers(opening, Applying(shop.pool, stock, counters), giving)
    return Till(desks, Outbox(shop.pool, work, counters, bounds=Bounds(first_ms=1)), sandbox)


def callback(type_: str, payment: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What the sandbox would tell of a payment; `changes` replace members of its data."""
    now_ms = time.time_ns() // 1_000_000
    data = {
        "payment_id": payment["id"],
        "refund_id": None,
        "ref": f"ref_{payment['id']}",
        "amount": payment["amount"]["amount"],
        "currency": payment["amount"]["currency"],
        "fee": 0,
        "occurred_at_ms": now_ms,
    }
    return {
        "id": f"evt_{next(_events)}_{now_ms}",
        "type": f"payment.{type_}",
        "data": data | changes,
    }


def signed(
    event: dict[str, Any], *, at: int | None = None, secrets: tuple[str, ...] = (SECRET,)
) -> tuple[dict[str, str], bytes]:
    """Headers and body as Standard Webhooks has them; `at` is the stamp in Unix seconds."""
    body = json.dumps(event)
    stamp = int(time.time()) if at is None else at
    when = datetime.fromtimestamp(stamp, UTC)
    signatures = [Webhook(secret).sign(event["id"], when, body) for secret in secrets]
    headers = {
        "webhook-id": event["id"],
        "webhook-timestamp": str(stamp),
        "webhook-signature": " ".join(signatures),
    }
    return headers, body.encode()
