"""`python -m loadtest.campaign`: a whole pre-order, rehearsed against a real engine in minutes.

Deposits of 1 fen, a second SKU while they come in, lots for some of them, a date that moves,
balances of which some charges are declined, and the rest given back. It ends with the books: what
the provider's statement, the money ledger, the payments and the orders say must be one sum.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from flashsale.access.tokens import BuyerKey
from flashsale.clients import StartError
from flashsale.demo.verdict import audit
from flashsale.embedded import play_money
from flashsale.embedded.credentials import Credentials
from flashsale.embedded.errors import EmbeddedError
from flashsale.payments.providers.sandbox import SandboxProvider
from flashsale.preorders.verify import verify_preorder
from flashsale.supervisor import engine
from loadtest.campaign_books import SQL, Books, read_books
from loadtest.campaign_desk import AT_ONCE, CALL_SECONDS_MAX, CampaignError, Desk, side_by_side

PRICES = {"gold": 199_900, "silver": 149_900}
DECLINED = 0.05
#: Of those who wait: how many change the SKU, go when the date moves, or pay by hand, at most.
CHANGES, FREE_CANCELS, BY_HAND = 0.02, 0.01, 0.1
WINDOW_HOURS, GRACE_HOURS, RETRY_HOURS = 0.008, 0.025, 0.01  # 29, 90 and 36 seconds
REST_SECONDS, WAIT_SECONDS_MAX = 0.5, 300.0
RESULTS = Path(__file__).resolve().parent / "results"


def say(line: str) -> None:
    """Tell whoever watches, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@contextlib.asynccontextmanager
async def an_engine(data_dir: Path | None) -> AsyncIterator[tuple[Credentials, Path]]:
    """The engine that runs on `data_dir`; without one, an engine of our own."""
    if data_dir is not None:
        yield Credentials.load(data_dir), data_dir
        return
    folder = Path(tempfile.mkdtemp(prefix="flashsale-campaign-"))
    try:
        async with engine(folder, host="127.0.0.1", port=0) as running:
            yield running.credentials, folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Campaign:
    """One rehearsal; `deposits` orders, of which `supplied` get a unit."""

    def __init__(self, desk: Desk, pool: asyncpg.Pool[asyncpg.Record], deposits: int) -> None:
        self.desk, self.pool, self.deposits = desk, pool, deposits
        self.supplied = deposits * 6 // 10
        self.sale = ""
        self.orders: list[tuple[str, str]] = []
        self.seconds: dict[str, float] = {}
        self.counts: dict[str, int] = {}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a part, and tell of it."""
        began = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - began
        say(f"{self.seconds[name]:7.1f} s  {name}")

    async def announce(self) -> None:
        """Draft and schedule the sale."""
        now = datetime.now(UTC)
        hours = {"window_hours": WINDOW_HOURS, "grace_hours": GRACE_HOURS}
        body = {
            "name": "Campaign",
            "kind": "preorder",
            "starts_at": _rfc3339(now),
            "ends_at": _rfc3339(now + timedelta(hours=2)),
            "items": [_item("gold", self.deposits)],
            "per_buyer_limit": 1,
            "hold_seconds": 600,
            "preorder": {
                "balance": {"mode": "on_allocation", "retry_hours": RETRY_HOURS, **hours},
                "on_default": "forfeit",
                "free_cancel_days": 1,
            },
        }
        self.sale = (await self.desk.merchant("POST", "/sales", body))["id"]
        await self.desk.merchant("POST", f"/sales/{self.sale}/schedule")

    async def take_deposits(self) -> None:
        """Most of them for gold; silver joins half-way, and some change to it."""

        async def deposit(number: int) -> tuple[str, str]:
            sku = "silver" if number % 5 == 4 and number > self.deposits // 2 else "gold"
            return await self.desk.deposit(self.sale, sku, f"fan-{number}")

        half = self.deposits // 2
        with self.phase("deposits, first half"):
            self.orders += await side_by_side(deposit, range(half))
        silver = _item("silver", self.deposits)
        await self.desk.merchant("POST", f"/sales/{self.sale}/items", silver)
        with self.phase("deposits, second half"):
            self.orders += await side_by_side(deposit, range(half, self.deposits))
        await self.wait_for("deposits at rest", [], self.deposits, ["deposit_paid"])

        async def change(order: tuple[str, str]) -> bool:
            return await self.desk.change(*order, "silver")

        with self.phase("changes of SKU"):
            some = self.orders[: half : max(1, round(1 / CHANGES))]
            self.counts["changed SKU"] = sum(await side_by_side(change, some))

    async def supply(self) -> None:
        """Lots for both SKUs, and a date that moves between them."""
        silver = self.supplied // 10
        lots = [("gold", self.supplied // 2), ("silver", silver)]
        lots.append(("gold", self.supplied - sum(quantity for _, quantity in lots)))
        for number, (sku, quantity) in enumerate(lots):
            body = {"sku": sku, "quantity": quantity, "reason": f"truck {number + 1}"}
            await self.desk.merchant("POST", f"/sales/{self.sale}/lots", body)
            if number == 0:
                await self.move_date()
        self.counts["units supplied"] = self.supplied

    async def move_date(self) -> None:
        """Promise another date; some of those affected go."""
        later = _rfc3339(datetime.now(UTC) + timedelta(days=60))
        body = {"sku": "gold", "ships_at": later, "reason": "late parts"}
        await self.desk.merchant("POST", f"/sales/{self.sale}/ship-dates", body)

        async def cancel(order: tuple[str, str]) -> bool:
            return await self.desk.cancel(*order)

        with self.phase("free cancellations"):
            some = self.orders[3 :: max(1, round(1 / FREE_CANCELS))]
            self.counts["cancelled freely"] = sum(await side_by_side(cancel, some))

    async def collect(self) -> None:
        """Some pay by hand; everybody else is charged, and given up on where that fails."""
        await self.wait_for("lots served", [], self.supplied // 2, ["balance_due"], rest=False)
        with self.phase("balances paid by hand"):
            due = await self._orders_in("balance_due")
            buyers = dict(self.orders)
            foreseen = {"nothing_due", "order_not_payable", "payment_in_progress"}

            async def pay(order: str) -> bool:
                return await self.desk.pay(order, buyers[order], foreseen)

            some = due[:: max(1, round(1 / BY_HAND))]
            self.counts["paid by hand"] = sum(await side_by_side(pay, some))
        await self.wait_for("balances charged", ["allocated", "balance_due"], self.supplied)

    async def give_back(self) -> None:
        """Refund everybody for whom there is no unit."""
        with self.phase("refunds asked for"):
            rest = await self._orders_in("deposit_paid")
            self.counts["refunded by the merchant"] = sum(
                await side_by_side(self.desk.refund, rest)
            )
        await self.wait_for("refunds done", ["deposit_paid"], 0)

    async def _orders_in(self, *states: str) -> list[str]:
        rows = await self.pool.fetch(SQL["orders_in"], self.sale, list(states))
        return [row["id"] for row in rows]

    async def wait_for(
        self,
        name: str,
        none_in: list[str],
        at_least: int,
        counted: Sequence[str] = ("paid",),
        *,
        rest: bool = True,
    ) -> None:
        """Until no order is in some states, enough are in others, and nothing is on its way."""
        with self.phase(name):
            deadline = time.monotonic() + WAIT_SECONDS_MAX
            while True:
                left = len(await self._orders_in(*none_in))
                there = len(await self._orders_in(*counted))
                moving = await self.pool.fetchval(SQL["unfinished"], self.sale) if rest else 0
                if left == moving == 0 and there >= at_least:
                    return
                if time.monotonic() > deadline:
                    found = f"{there:,} of {at_least:,}, {left:,} left, {moving:,} moving"
                    raise CampaignError(f"{name}: {found}")
                await asyncio.sleep(REST_SECONDS)


async def rehearse(data_dir: Path | None, deposits: int, results: Path) -> int:
    """Hold a campaign; 0 where nothing is unexplained."""
    timeout = aiohttp.ClientTimeout(total=CALL_SECONDS_MAX)
    connector = aiohttp.TCPConnector(limit=2 * AT_ONCE)
    async with (
        an_engine(data_dir) as (credentials, folder),
        aiohttp.ClientSession(timeout=timeout, connector=connector) as session,
        asyncpg.create_pool(credentials.postgres_dsn, min_size=1, max_size=2) as pool,
    ):
        money = play_money.load(folder)
        if money is None:
            raise CampaignError("the engine takes no play money")
        secret = credentials.buyer_signing_key.encode()
        kid = await pool.fetchval(SQL["kid"], credentials.merchant_id, secret)
        key = BuyerKey(kid, credentials.merchant_id, "HS256", secret)
        campaign = Campaign(Desk(session, credentials, key), pool, deposits)
        async with session.put(
            f"{money.url}/v1/switches",
            json={"decline": DECLINED},
            headers={"Authorization": f"Bearer {money.api_key}"},
        ) as switched:
            switched.raise_for_status()
        await campaign.announce()
        await campaign.take_deposits()
        await campaign.supply()
        await campaign.collect()
        await campaign.give_back()
        books = await _close_books(campaign, credentials, money)
    _tell(books, results)
    return 0 if books.holds else 1


async def _close_books(
    campaign: Campaign, credentials: Credentials, money: play_money.PlayMoney
) -> Books:
    provider = SandboxProvider(
        money.url, api_key=money.api_key, webhook_secrets=(money.webhook_secret,)
    )
    try:
        books = await read_books(campaign.pool, provider, campaign.sale)
    finally:
        await provider.close()
    books.seconds, books.counts = campaign.seconds, campaign.counts
    checks = await verify_preorder(campaign.pool, campaign.sale)
    books.checks = [(check.equation, check.holds) for check in checks]
    verdict = await audit(credentials, campaign.sale)
    books.checks.append((verdict.sentence, verdict.holds))
    return books


def _tell(books: Books, results: Path) -> None:
    for what, much in books.rows():
        say(f"  {what}: {much}")
    results.mkdir(parents=True, exist_ok=True)
    (results / "campaign.md").write_text(books.to_markdown(), encoding="utf-8")
    (results / "campaign.json").write_text(books.to_json(), encoding="utf-8")


def _item(sku: str, supply: int) -> dict[str, Any]:
    return {
        "sku": sku,
        "name": sku.title(),
        "price": {"amount": PRICES[sku], "currency": "CNY"},
        "deposit": {"amount": 1, "currency": "CNY"},
        "supply": supply,
        "ships_at": _rfc3339(datetime.now(UTC) + timedelta(days=30)),
    }


def _rfc3339(instant: datetime) -> str:
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def main() -> int:
    """0 where nothing is unexplained, 1 where something is, 2 for wrong use."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.campaign")
    parser.add_argument("--data-dir", type=Path, help="the engine that runs on this folder")
    parser.add_argument("--deposits", type=int, default=10_000, help="how many orders")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the report goes")
    options = parser.parse_args()
    try:
        return asyncio.run(rehearse(options.data_dir, options.deposits, options.results))
    except CampaignError as error:
        sys.stderr.write(f"campaign: {error}\n")
        return 1
    except (StartError, EmbeddedError) as error:
        sys.stderr.write(f"campaign: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
