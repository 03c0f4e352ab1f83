"""From which address a request comes: the socket's, or what a trusted proxy says. Does no I/O.

A header proves nothing by itself: only what the nearest proxy of ours has appended is true, so the
chain is read from its end, and ends at the first hop that is not ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

Networks = tuple[IPv4Network | IPv6Network, ...]

#: One household or one server has this much of IPv6; its single addresses cost nothing.
IPV6_PREFIX = 64
HOPS_MAX = 16
_KNOWN_MAX = 16_384
_ADDRESS_CHARACTERS_MAX = 64


def networks(text: str) -> Networks:
    """Networks in CIDR form, separated by spaces or commas; ValueError on anything else."""
    return tuple(ip_network(word) for word in text.replace(",", " ").split())


class Place(NamedTuple):
    """What an address is to us: whether its header is believed, and whom to count, if anybody."""

    trusted: bool
    subject: str | None


class Addresses:
    """Names the subject of an address limit; `trusted` are our proxies, `exempt` is not counted."""

    def __init__(self, trusted: Networks = (), exempt: Networks = ()) -> None:
        self._trusted = trusted
        self._exempt = exempt
        #: What an address is to us; ValueError where it is none.
        self.place = lru_cache(maxsize=_KNOWN_MAX)(self._look)

    def subject(self, peer: str, forwarded: Sequence[str] = ()) -> str | None:
        """Whom to count; None for nobody. `forwarded` are the values of X-Forwarded-For."""
        place = self.place(peer)
        if not place.trusted:
            return place.subject
        hops = ",".join(forwarded).rsplit(",", HOPS_MAX)[-HOPS_MAX:]
        for hop in reversed(hops):
            try:
                place = self.place(_bare(hop))
            except ValueError:
                break  # whoever wrote that is unknown: the proxy that passed it on is counted
            if not place.trusted:
                break
        return place.subject

    def _look(self, peer: str) -> Place:
        address = ip_address(peer)
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        trusted = any(address in network for network in self._trusted)
        if any(address in network for network in self._exempt):
            return Place(trusted, None)
        if isinstance(address, IPv6Address):
            return Place(trusted, str(IPv6Network((int(address), IPV6_PREFIX), strict=False)))
        return Place(trusted, str(address))


def _bare(hop: str) -> str:
    """An address without the port that some proxies add; ValueError where it cannot be one."""
    hop = hop.strip()
    if len(hop) > _ADDRESS_CHARACTERS_MAX:
        raise ValueError("too long for an address")
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
