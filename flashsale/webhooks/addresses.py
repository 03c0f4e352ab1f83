"""Which addresses are connected to: the guard against requests forged through us. Sends nothing.

A merchant names any URL. What it leads to is judged when it is registered and again at every
delivery, on the very addresses that are connected to (OWASP, Server Side Request Forgery
Prevention): a name may lead elsewhere later.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from urllib.parse import urlsplit

from flashsale.webhooks.errors import AddressRefusedError

URL_CHARACTERS_MAX = 2048
LOOKUP_SECONDS_MAX = 5.0
#: Below, ports belong to services that are no web server.
_UNPRIVILEGED_PORT = 1024

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
#: The addresses of a host name, as text; raises OSError where it has none.
Lookup = Callable[[str], Awaitable[Sequence[str]]]

#: What a development machine may send to: itself and the networks around it.
_NEARBY = tuple(
    map(
        ipaddress.ip_network,
        ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
    )
)
#: Ranges that the registries call global, or once did, and that lead to no merchant: addresses
#: that carry an IPv4 address within them, and a cloud's own servers.
_NEVER = tuple(
    map(
        ipaddress.ip_network,
        (
            *("0.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "192.0.0.0/24", "192.88.99.0/24"),
            *("168.63.129.16/32", "198.18.0.0/15", "224.0.0.0/3"),
            *("::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64"),
            *("2001::/23", "2001:db8::/32", "2002::/16", "fc00::/7", "fe80::/10", "fec0::/10"),
            "ff00::/8",
        ),
    )
)


def check_address(text: str, *, allow_private: bool) -> None:
    """AddressRefusedError where `text`, an IP address, is not one to connect to."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise AddressRefusedError("Leads to something that is no address.") from None
    if allow_private and _within(address, _NEARBY):
        return
    if not address.is_global or address.is_multicast or _within(address, _NEVER):
        raise AddressRefusedError("Leads to an address that is not public.")


def _within(
    address: Address, networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]
) -> bool:
    return any(address.version == each.version and address in each for each in networks)


def check_url(url: str, *, allow_private: bool) -> str:
    """The host of `url`; AddressRefusedError where the engine would never send there.

    An address written as a number is judged here; what a name leads to is judged when it is
    looked up.
    """
    if len(url) > URL_CHARACTERS_MAX or not url.isascii() or not url.isprintable() or " " in url:
        raise AddressRefusedError("Must be printable ASCII of at most 2048 characters.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise AddressRefusedError("Is not an address.") from None
    if parts.scheme != "https" and not (allow_private and parts.scheme == "http"):
        raise AddressRefusedError("Must begin with https://.")
    if "@" in parts.netloc or parts.fragment or "\\" in url:
        raise AddressRefusedError("Must hold no user, no password and no fragment.")
    if not host or "%" in host:
        raise AddressRefusedError("Must name a host.")
    usual = 443 if parts.scheme == "https" else 80
    if port is not None and port != usual and port < _UNPRIVILEGED_PORT:
        raise AddressRefusedError("The port must be the usual one, or 1024 or more.")
    if _is_address(host):
        check_address(host, allow_private=allow_private)
    return host


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def system_lookup(host: str) -> list[str]:
    """The addresses of a host as the system knows them; OSError where there are none in time."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(LOOKUP_SECONDS_MAX):
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def checked_lookup(host: str, lookup: Lookup, *, allow_private: bool) -> list[str]:
    """Every address of a host, all of them fit to connect to.

    AddressRefusedError where one is not: a name that leads to both is not to be trusted. OSError
    where there is none.
    """
    found = list(await lookup(host))
    if not found:
        raise OSError("The host has no address.")
    for address in found:
        check_address(address, allow_private=allow_private)
    return found
