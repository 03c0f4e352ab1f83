"""The stage of a bench: servers, processes, sales and buyers. It measures nothing itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

from flashsale.access.queries import NewMerchant, create_merchant
from flashsale.access.tokens import fast_issuer
from flashsale.clients import reservation_store
from flashsale.config import Settings, load_settings
from flashsale.domain.money import Money
from flashsale.embedded.ports import free_port
from flashsale.embedded.process import spawn
from flashsale.embedded.servers import Servers, bundled_servers
from flashsale.reservation.replies import Request
from flashsale.sales.forms import SaleForm
from flashsale.sales.service import SaleService
from flashsale.settlement.migrate import migrate
from flashsale.shipped import shipped

SKU = "phone"
PRICE = Money(149_900, "CNY")
START_SECONDS_MAX = 15.0


@dataclass(frozen=True, slots=True)
class Stage:
    """What the measurements work with."""

    folder: Path
    servers: Servers
    settings: Settings
    merchant: NewMerchant
    #: The process ids of those that were started here, by name.
    pids: dict[str, int] = field(default_factory=dict)

    async def sale(self, units: int) -> str:
        """An open sale of `units` of one SKU."""
        start = datetime.now(UTC)
        form = SaleForm.model_validate(
            {
                "name": "Bench",
                "kind": "launch",
                "starts_at": start,
                "ends_at": start + timedelta(hours=6),
                "items": [
                    {
                        "sku": SKU,
                        "name": "Phone",
                        "price": {"amount": PRICE.amount, "currency": PRICE.currency},
                        "supply": units,
                    }
                ],
                "per_buyer_limit": 1,
                "hold_seconds": 7200,
            }
        )
        async with (
            reservation_store(self.settings) as store,
            asyncpg.create_pool(self.servers.postgres_dsn, min_size=1, max_size=2) as pool,
        ):
            service = SaleService(pool, store, lambda: datetime.now(UTC))
            owner = self.merchant.merchant_id
            sale = await service.create(owner, form)
            await service.schedule(owner, sale.id)
            return sale.id

    async def sold_out_sale(self) -> str:
        """A sale whose only unit is taken."""
        sale = await self.sale(1)
        async with reservation_store(self.settings) as store:
            await store.reserve(sale, 0, 1, [Request("o" * 20, "the-winner", 0, 1)])
        return sale

    def tokens(self, name: str, count: int) -> Path:
        """A file of `count` tokens, one a line, each of a buyer nobody has seen before."""
        issue = fast_issuer(self.merchant.buyer_key, now=time.time())
        path = self.folder / "tokens.txt"
        with path.open("w", encoding="ascii") as file:
            file.writelines(f"{issue(f'{name}-{number:08d}')}\n" for number in range(count))
        return path

    @contextlib.asynccontextmanager
    async def process(
        self, name: str, module: str, *options: str, variables: Mapping[str, str] = {}
    ) -> AsyncIterator[int]:
        """`python -m MODULE OPTIONS --port P` while the block runs; yields P once it answers."""
        port = free_port("127.0.0.1", 0)
        environment = {
            **os.environ,
            **variables,
            "FLASHSALE_REDIS_URL": self.servers.redis_url,
            "FLASHSALE_POSTGRES_DSN": self.servers.postgres_dsn,
            "PYTHONPATH": os.pathsep.join(
                filter(None, (str(shipped("loadtest").parent), os.environ.get("PYTHONPATH")))
            ),
        }
        child = spawn(
            name,
            (sys.executable, "-m", module, *options, "--port", str(port)),
            env=environment,
            log_path=self.folder / "logs" / f"{name}.log",
        )
        self.pids[name] = child.pid
        try:
            async with asyncio.timeout(START_SECONDS_MAX):
                while not await _listens(port):
                    if child.exit_code() is not None:
                        raise RuntimeError(f"{name} cannot start: {child.last_words()}")
                    await asyncio.sleep(0.05)
            yield port
        finally:
            await child.stop()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@contextlib.asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    """Servers and a merchant in `folder`, gone afterwards."""
    async with bundled_servers(folder, redis_config=shipped("config") / "redis.conf") as servers:
        await migrate(servers.postgres_dsn)
        connection = await asyncpg.connect(servers.postgres_dsn)
        try:
            merchant = await create_merchant(connection, "Bench", now=datetime.now(UTC))
        finally:
            await connection.close()
        settings = load_settings(
            {
                "FLASHSALE_REDIS_URL": servers.redis_url,
                "FLASHSALE_POSTGRES_DSN": servers.postgres_dsn,
            }
        )
        yield Stage(folder, servers, settings, merchant)


def median(values: Iterable[float]) -> float:
    """The middle value, the mean of the two middle ones of an even number."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return (ordered[middle] + ordered[~middle]) / 2
