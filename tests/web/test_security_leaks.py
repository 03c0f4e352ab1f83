"""What was sent in confidence stays there: no log line and no refusal of a process repeats it.

The process is the real one, with its real log; it is asked everything, rightly and wrongly, and
then again with a table gone and a value in another that cannot be: outages and bugs have much to
tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from flashsale.access.queries import NewMerchant, create_merchant
from flashsale.access.tokens import issue_buyer_token
from flashsale.web.openapi import Auth, Route
from flashsale.web.routes import ROUTES
from tests.sales.shop import body, now

#: Worn by everything that is sent in confidence here.
MARK = "c0nf1dent1al"


@dataclass
class Process:
    """A running web process, its log and whoever may call it."""

    url: str
    log: Path
    merchant: NewMerchant
    session: aiohttp.ClientSession
    dsn: str

    def bearer(self, auth: Auth) -> str | None:
        if auth is Auth.BUYER:
            seconds = now().timestamp()
            return issue_buyer_token(self.merchant.buyer_key, f"{MARK}-buyer", now=seconds)
        return None if auth is Auth.NONE else self.merchant.api_key

    def secrets(self) -> set[str]:
        key = self.merchant.buyer_key.secret.decode()
        return {MARK, self.merchant.api_key, key, self.merchant.api_key[11:30]}


@pytest.fixture
async def process(schema, new_database, redis_db, redis_url, tmp_path) -> AsyncIterator[Process]:
    async with new_database(template=schema) as dsn:
        pool = await asyncpg.create_pool(dsn, min_size=1, max_size=1)
        merchant = await create_merchant(pool, "Mi", now=now())
        await pool.close()
        log = tmp_path / "web.log"
        with log.open("wb") as written:
            running = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "flashsale", "web", "--port", "0"),
                stdout=written,
                stderr=written,
                cwd=tmp_path,
                env={
                    **os.environ,
                    "FLASHSALE_REDIS_URL": redis_url,
                    # The tests' server trusts whoever reaches its socket: any password will do.
                    "FLASHSALE_POSTGRES_DSN": f"{dsn}&password={MARK}-postgres",
                    "FLASHSALE_ORDER_ID_SECRET": f"{MARK}-{'order-id-secret' * 3}",
                },
            )
        try:
            async with aiohttp.ClientSession() as session:
                url = await _started(running, log)
                yield Process(url, log, merchant, session, dsn)
        finally:
            with contextlib.suppress(ProcessLookupError):
                running.terminate()
            await running.wait()


async def _started(running: asyncio.subprocess.Process, log: Path) -> str:
    while True:
        for line in log.read_text().splitlines():
            told = json.loads(line)
            if told.get("event") == "started" and "port" in told:
                return f"http://127.0.0.1:{told['port']}"
        assert running.returncode is None, log.read_text()
        await asyncio.sleep(0.05)


async def send(process: Process, method: str, path: str, headers: dict, data: bytes | None) -> int:
    """One request; a refusal repeats nothing of it."""
    async with process.session.request(
        method, process.url + path, headers=headers, data=data, allow_redirects=False
    ) as reply:
        text = await reply.text()
        if reply.status >= 400:
            said = text + str(dict(reply.headers))
            assert {secret for secret in process.secrets() if secret in said} == set(), said
        return reply.status


def bodies(route: Route) -> list[bytes | None]:
    if route.method == "GET":
        return [None]
    return [
        json.dumps({"unknown": f"{MARK}-value"}).encode(),
        json.dumps({"sku": MARK, "quantity": MARK, "label": f"{MARK}\n", "url": MARK}).encode(),
        f'{{"broken": "{MARK}'.encode(),
        json.dumps([MARK]).encode(),
    ]


async def ask_everything(process: Process, sale: str) -> set[int]:
    statuses = set()
    for route in ROUTES:
        strangers = [f"{MARK}.{MARK}.{MARK}", f"fs_{MARK:x<43}"]
        right, wrong = [
            re.sub(r"\{sale\}", sale, re.sub(r"\{(?!sale)\w+\}", MARK, route.path)),
            re.sub(r"\{\w+\}", f"{MARK}%00%0a", route.path) + f"?{MARK}={MARK}&cursor={MARK}",
        ]
        sent = bodies(route)
        asked = [(process.bearer(route.auth), right, data) for data in sent]
        asked.append((process.bearer(route.auth), wrong, sent[0]))
        asked += [(stranger, right, sent[0]) for stranger in strangers]
        for bearer, path, data in asked:
            headers = {"Idempotency-Key": f"{MARK}-key", "If-Match": f'"{MARK}"'}
            if bearer is not None:
                headers["Authorization"] = f"Bearer {bearer}"
            if data is not None:
                headers["Content-Type"] = "application/json"
            if route.status != 204:  # what it would revoke is still needed
                statuses.add(await send(process, route.method, path, headers, data))
    return statuses


async def test_a_process_keeps_what_it_is_told(process: Process) -> None:
    key = {"Authorization": f"Bearer {process.merchant.api_key}"}
    form = json.dumps(body(name=f"{MARK} sale")).encode()
    headers = {**key, "Content-Type": "application/json"}
    posted = await process.session.post(
        f"{process.url}/v1/merchant/sales", headers=headers, data=form
    )
    sale = (await posted.json())["id"]
    await process.session.post(f"{process.url}/v1/merchant/sales/{sale}/schedule", headers=key)
    statuses = await ask_everything(process, sale)
    assert {200, 401, 404, 422} <= statuses
    connection = await asyncpg.connect(process.dsn)
    await connection.execute(
        "ALTER TABLE orders RENAME TO gone;"
        "ALTER TABLE sales DROP CONSTRAINT sales_kind_check;"
        "ALTER TABLE sales DISABLE TRIGGER USER;"
        "UPDATE sales SET kind = 'unheard of';"
    )
    await connection.close()
    assert 500 in await ask_everything(process, sale)
    text = process.log.read_text()
    assert "request_failed" in text, "there was something to tell"
    assert {secret for secret in process.secrets() if secret in text} == set()
