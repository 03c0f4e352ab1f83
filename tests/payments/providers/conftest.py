from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.payments.providers.desks import Desk, localstripe, sandbox_desk, stripe_desk


@pytest.fixture(scope="module")
def localstripe_url(tmp_path_factory) -> Iterator[str]:
    with localstripe(tmp_path_factory.mktemp("localstripe") / "log") as url:
        yield url


@pytest.fixture(params=["sandbox", "stripe"])
async def desk(request, tmp_path) -> AsyncIterator[Desk]:
    """Each provider in turn."""
    if request.param == "sandbox":
        async with sandbox_desk(tmp_path) as opened:
            yield opened
    else:
        async with stripe_desk(request.getfixturevalue("localstripe_url")) as opened:
            yield opened
