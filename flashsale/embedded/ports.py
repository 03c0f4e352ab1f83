"""Ports for processes that share them; must never listen itself."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from flashsale.embedded.errors import PortTakenError


def free_port(host: str, port: int) -> int:
    """`port` itself, or a free one for 0. Raises PortTakenError where it is taken."""
    with held_port(host, port) as number:
        return number


@contextlib.contextmanager
def held_port(host: str, port: int) -> Iterator[int]:
    """A port that only processes which share it can listen on, even while none of ours does."""
    # Bound without SO_REUSEPORT, so that another engine on this port is noticed and not joined.
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind((host, port))
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "no such host"
            raise PortTakenError(
                f"{host}:{port} cannot be listened on ({reason}): choose another --host or --port."
            ) from None
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        yield int(holder.getsockname()[1])


def shown_host(host: str) -> str:
    """A host as an address on this machine names it."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{shown}]" if ":" in shown else shown
