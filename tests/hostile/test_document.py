"""The served document against the server that serves it: schemathesis, all its checks, bounded."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from tests.web.house import House

PROGRAM = "from schemathesis.cli import schemathesis; schemathesis()"
#: `make hostile` tries many more.
EXAMPLES = os.environ.get("FLASHSALE_TEST_EXAMPLES", "4")

#: Names that mean something are tried as often as made-up ones. What is well formed may still be
#: out of time, of stock or of order, which no schema can tell: those refusals are answers too.
CONFIG = """
seed = 20260101
workers = 1
[generation]
allow-x00 = false
[auth.openapi]
buyer = {{ bearer = "{buyer}" }}
merchant = {{ bearer = "{merchant}" }}
[dictionaries.sales]
values = ["{sale}", "{draft}"]
[dictionaries.orders]
values = ["{order}", "{paid}"]
[dictionaries.providers]
values = ["sandbox"]
[dictionaries.webhooks]
values = ["{webhook}"]
[parameters]
"path.provider" = {{ dictionary = "providers", probability = 0.9 }}
"path.webhook" = {{ dictionary = "webhooks", probability = 0.7 }}
"path.sale" = {{ dictionary = "sales", probability = 0.7 }}
"path.order" = {{ dictionary = "orders", probability = 0.7 }}
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 304, 401, 403, 404, 409, 410, 412, 422, 428, 503]
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 410, 412, 413, 415, 417, 422, 428, 431, 501]
[checks.missing_required_header]
expected-statuses = [400, 401, 428]
"""

SIDES = {
    "buyer": "^/(?!v1/merchant/)",
    "merchant": "^/v1/merchant/",
}


async def webhook_of(house: House) -> str:
    form = {"url": "http://127.0.0.1:9999/hook"}
    made = await house.manage("POST", "/webhooks", form)
    assert made.status == 201, made.text
    return str(made.json["id"])


@pytest.mark.parametrize("paths", SIDES.values(), ids=SIDES)
async def test_no_call_breaks_the_contract(house: House, tmp_path: Path, paths: str) -> None:
    buyer = house.buyer()
    sale = await house.sale(per_buyer_limit=9)
    config = tmp_path / "schemathesis.toml"
    config.write_text(
        CONFIG.format(
            buyer=house.token(buyer),
            merchant=house.merchant.api_key,
            sale=sale,
            webhook=await webhook_of(house),
            draft=(await house.draft()).json["id"],
            order=await house.buy(sale, buyer),
            paid=await house.paid(sale, buyer),
        )
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", "-c", PROGRAM, "--config-file", config, "run"),
        *(f"{house.url}/openapi.json", "--checks", "all", "--include-path-regex", paths),
        *("--max-examples", EXAMPLES, "--generation-deterministic", "--no-color"),
        *("--request-timeout", "30", "--suppress-health-check=all"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    summary = re.search(r"(\d+) generated", said.decode())
    assert summary is not None
    assert int(summary[1]) > 100
