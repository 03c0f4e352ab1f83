"""Lists of sales and what is looked for again and again: each walks an index, however many."""

from __future__ import annotations

import pytest

from flashsale.sales.queries import SQL
from tests.sales.shop import Shop, now

WALKS = {
    "page_of_public": ("sales_public", (1, "a", 50)),
    "page_of_merchant": ("sales_by_merchant", ("mer_a", 1, "a", 50)),
    "page_of_supplies": ("supplies_by_sale", ("a", 1, "a", 50)),
    "due_supplies": ("supplies_pending", (now(), 50)),
    "half_refused_supplies": ("supplies_half_refused", (50,)),
}


@pytest.mark.parametrize(("statement", "index", "arguments"), [(s, *w) for s, w in WALKS.items()])
async def test_a_list_is_read_from_its_index(shop: Shop, statement, index, arguments):
    async with shop.pool.acquire() as connection, connection.transaction():
        # An empty table is read whole where that is allowed; what is left then is what can be.
        for way in ("seqscan", "bitmapscan"):
            await connection.execute(f"SET LOCAL enable_{way} = off")
        plan = await connection.fetch(f"EXPLAIN {SQL[statement]}", *arguments)
    text = "\n".join(row[0] for row in plan)
    assert f"using {index}" in text, text
    assert "Seq Scan" not in text, text
    assert "Sort" not in text, text
