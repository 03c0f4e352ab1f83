"""`flashsale reopen` and `flashsale dead-letters`, as an operator calls them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest

from flashsale.auditlog.queries import page
from flashsale.reconciliation import queries
from flashsale.sales.queries import find_sale
from flashsale.settlement.letters import dead_letters
from tests.reconciliation.scene import Scene, open_scene
from tests.settlement.test_letters import NEW_ITEM


class Ran(NamedTuple):
    code: int
    printed: str
    said: str


class Operator:
    """The program itself, on the servers of a scene."""

    def __init__(self, dsn: str, redis_url: str) -> None:
        servers = {"FLASHSALE_POSTGRES_DSN": dsn, "FLASHSALE_REDIS_URL": redis_url}
        self.environment = {**os.environ, **servers}

    async def __call__(self, *arguments: str) -> Ran:
        ran = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "flashsale", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment,
        )
        printed, said = await ran.communicate()
        assert ran.returncode is not None
        return Ran(ran.returncode, printed.decode(), said.decode())


class Desk(NamedTuple):
    scene: Scene
    operator: Operator


@pytest.fixture
async def desk(schema, new_database, redis_db, redis_url) -> AsyncIterator[Desk]:
    async with new_database(template=schema) as dsn, open_scene(dsn, redis_url) as scene:
        yield Desk(scene, Operator(dsn, redis_url))


async def test_a_sku_is_reopened_once_the_stores_agree(desk: Desk):
    scene, operator = desk
    call = ("reopen", scene.sale.id, "mi3-16", "--because", "a unit was added by hand")
    await scene.redis.hincrby(scene.keys.stock, "available:0", 1)
    assert await queries.shut_item(scene.pool, scene.sale.id, 0, "a drift")
    await scene.store.shut_item(scene.sale.id, 0, 1, 0)
    refused = await operator(*call)
    assert refused.code == 2
    assert "stays shut" in refused.said
    audit = await operator("audit", scene.sale.id, "--json")
    assert audit.code == 1
    (alert,) = json.loads(audit.printed)["sales"][0]["alerts"]
    assert "'mi3-16' is shut" in alert
    await scene.redis.hincrby(scene.keys.stock, "available:0", -1)
    opened = await operator(*call)
    assert (opened.code, opened.said) == (0, "")
    assert "can be reserved again" in opened.printed
    await scene.reserve("ada")
    assert "no SKU 'mi3-16' that is shut" in (await operator(*call)).said


async def test_dead_letters_are_listed_and_settled(desk: Desk):
    scene, operator = desk
    assert (await operator("dead-letters", "list")).printed == "there are no dead letters\n"
    await scene.store.add_item(scene.sale.id, 0, 1, 2, 5)
    await scene.reserve("ada", 2, at=2)
    await scene.settle()
    listed = await operator("dead-letters", "list", "--sale", scene.sale.id, "--json")
    (letter,) = json.loads(listed.printed)
    assert (letter["sale_id"], letter["lane"]) == (scene.sale.id, 0)
    stays = await operator("dead-letters", "replay")
    assert stays.code == 1
    assert f"{letter['entry_id']}: stays: " in stays.printed
    await scene.pool.execute(NEW_ITEM, scene.sale.id, 5)
    settled = await operator("dead-letters", "replay", letter["entry_id"])
    assert (settled.code, settled.said) == (0, "")
    assert "settled, 1 orders, 0 without room" in settled.printed
    again = await operator("dead-letters", "replay")
    assert (again.code, again.printed) == (0, "there are no dead letters\n")
    assert await scene.broken() == set()


async def test_a_dead_letter_goes_for_good_only_once_its_units_are_free(desk: Desk):
    scene, operator = desk
    await scene.store.add_item(scene.sale.id, 0, 1, 2, 5)
    await scene.reserve("ada", 2, at=2)
    await scene.settle()
    (letter,) = await dead_letters(scene.pool)
    call = ("dead-letters", "dismiss", letter.entry_id, "--because", "nobody added that SKU")
    held = await operator(*call)
    assert (held.code, held.said) == (1, "")
    assert "stays: its units may be held" in held.printed
    assert await dead_letters(scene.pool) == [letter]

    assert (await operator("recover", scene.sale.id)).code == 0
    gone = await operator(*call)

    assert (gone.code, gone.said) == (0, "")
    assert "dismissed" in gone.printed
    assert await dead_letters(scene.pool) == []
    assert await scene.broken() == set()
    sale = await find_sale(scene.pool, scene.sale.id)
    assert sale is not None
    assert sale.may_have_lost, "who asks for such an order is told that it was lost"
    (entry, *_) = await page(scene.pool, scene.merchant, scene.sale.id, None, 10)
    assert (entry.actor, entry.action, entry.subject) == (
        "operator",
        "dismiss_dead_letter",
        letter.entry_id,
    )
    assert "nobody added that SKU" in entry.entry
    assert "ada" in entry.entry


@pytest.mark.parametrize("what", ["replay", "dismiss"])
async def test_an_entry_that_is_no_dead_letter_is_wrong_use(desk: Desk, what: str):
    because = ["--because", "a typo"] if what == "dismiss" else []
    named = await desk.operator("dead-letters", what, "1-1", *because)
    assert (named.code, named.printed) == (2, "")
    assert named.said == "flashsale: There is no dead letter '1-1'. Nothing was changed.\n"
    elsewhere = await desk.operator("dead-letters", what, "1-1", *because, "--sale", "nowhere")
    assert (elsewhere.code, elsewhere.said) == (2, "flashsale: There is no sale 'nowhere'.\n")
