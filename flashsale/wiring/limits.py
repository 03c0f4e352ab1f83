"""Puts rate limits together. Holds no rule of its own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import structlog

from flashsale.clients import redis_client
from flashsale.config import Settings
from flashsale.limits.addresses import Addresses, networks
from flashsale.limits.limiter import Limiter
from flashsale.limits.pot import Pot
from flashsale.reservation.links import Links
from flashsale.reservation.scripts import ScriptRunner, load_scripts
from flashsale.shipped import shipped
from flashsale.web.limiting import Throttle

_LOG = structlog.get_logger(__name__)

#: Asks are gathered: one call is in flight, and one may take the place of one that failed.
LINKS_MAX = 2
#: A limit that cannot be looked up soon is not worth waiting for.
TIMEOUT_MS_MAX = 1000


@contextlib.asynccontextmanager
async def throttle(settings: Settings) -> AsyncIterator[Throttle]:
    """The limits of a web process, with a connection of their own."""
    limits = settings.limits
    async with redis_client(settings) as redis:
        timeout_ms = min(TIMEOUT_MS_MAX, settings.reservation.redis_timeout_ms)
        links = Links(redis, links_max=LINKS_MAX, timeout_ms=timeout_ms)
        pot = Pot(ScriptRunner(links, load_scripts(shipped("lua") / "limits")).run)

        def limiter(name: str, per_second: int) -> Limiter | None:
            if per_second == 0:
                return None
            return Limiter(
                name,
                pot,
                per_second=per_second,
                burst_seconds=limits.burst_seconds,
                share_percent=limits.share_percent,
                subjects_max=limits.subjects_max,
            )

        try:
            yield Throttle(
                buyer=limiter("buyer", limits.buyer_per_second),
                address=limiter("address", limits.address_per_second),
                sale=limiter("sale", limits.sale_per_second),
                addresses=Addresses(
                    networks(limits.trusted_proxies), networks(limits.exempt_networks)
                ),
            )
        finally:
            await pot.stop()
            await links.close()


def warn_of_proxies(settings: Settings) -> None:
    """Behind a proxy that is not named, everybody has one address."""
    limits = settings.limits
    production = settings.mode == "production"
    if production and limits.address_per_second and not limits.trusted_proxies:
        _LOG.warning("no_trusted_proxies", advice="behind a proxy, set limits.trusted_proxies")
