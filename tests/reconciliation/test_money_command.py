"""`flashsale audit` as anyone runs it: sales, then what belongs to none, and the exit code."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import sys
from typing import Any

import pytest

from tests.reconciliation.scene import open_scene
from tests.reconciliation.till import PRICE, Till

NOBODY = "http://127.0.0.1:1"  # a privileged port on which nothing answers


@pytest.fixture
async def shop(schema, new_database, redis_db, redis_url):
    async with new_database(template=schema) as dsn, open_scene(dsn, redis_url) as scene:
        till = Till(scene)
        await till.retire()
        yield till, {"FLASHSALE_REDIS_URL": redis_url, "FLASHSALE_POSTGRES_DSN": dsn}


async def audit(variables: dict[str, str], *arguments: str) -> tuple[int | None, Any]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "flashsale", "audit", "--json", *arguments),
        env={**os.environ, **variables},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return process.returncode, json.loads(output)


async def test_the_installation_comes_after_the_sales(shop):
    till, variables = shop
    await till.paid_order()
    code, found = await audit(variables)
    assert (code, found["holds"]) == (0, True)
    assert [each["sale_id"] for each in found["sales"]] == [till.sale]
    assert found["installation"]["alerts"] == [
        "No provider is configured: its statement was not compared."
    ]
    secret = base64.b64encode(secrets.token_bytes(32)).decode()
    sandbox = {
        "FLASHSALE_PAYMENTS__PROVIDER": "sandbox",
        "FLASHSALE_PAYMENTS__SANDBOX_URL": NOBODY,
        "FLASHSALE_SANDBOX_API_KEY": secrets.token_urlsafe(32),
        "FLASHSALE_SANDBOX_WEBHOOK_SECRETS": f"whsec_{secret}",
    }
    code, found = await audit({**variables, **sandbox})
    assert code == 0
    (alert,) = found["installation"]["alerts"]
    assert alert.startswith("The statement of sandbox was not compared: ")


async def test_a_retired_sale_is_looked_at_whole_where_it_is_named_or_all_are(shop):
    till, variables = shop
    await till.capture(await till.order("cancelled"), PRICE)
    assert (await audit(variables))[0] == 0
    assert (await audit(variables, "--all"))[0] == 1
    code, found = await audit(variables, till.sale)
    assert code == 1
    assert "installation" not in found


async def test_the_queues_of_a_preorder_are_checked_too(shop):
    till, variables = shop
    await till.run("INSERT INTO preorder_queues (sale_id, item, step) VALUES ($1, 0, 1)", till.sale)
    await till.run(
        "INSERT INTO lots (id, sale_id, item, quantity, free, reason, step)"
        " VALUES ('lot', $1, 0, 5, 4, 'ship', 1)",
        till.sale,
    )
    code, found = await audit(variables, till.sale)
    assert code == 1
    broken = [check for check in found["sales"][0]["checks"] if not check["holds"]]
    assert [(check["left"], check["right"], check["detail"]) for check in broken] == [(4, 5, "lot")]
