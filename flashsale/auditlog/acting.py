"""In whose name this process is working now. Kept beside the calls, never handed through them.

A merchant's call reaches Postgres through services that know nothing of an audit log. What they
change is written down by triggers in the same transaction (migrations/0007_audit_log.sql), and
those read from the session who acts: `queries.carry_act` puts it there with each connection that
the call takes out of its pool.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import asdict, dataclass

import orjson

#: The actor of what is done at the command line.
OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Act:
    """One call in a merchant's name: `actor` is its API key's id, `action` the call's name.

    `subject` is what the call names, None where it makes something new; neither may hold a secret.
    """

    merchant_id: str
    actor: str
    action: str
    subject: str | None = None
    sale_id: str | None = None

    def to_json(self) -> str:
        """The act as the session keeps it."""
        return orjson.dumps(asdict(self)).decode()


@dataclass(slots=True)
class _Slot:
    act: Act | None


_CURRENT: ContextVar[_Slot | None] = ContextVar("flashsale_acting", default=None)


@contextlib.contextmanager
def acting(act: Act) -> Iterator[None]:
    """Work in a merchant's name while the block runs."""
    slot = _Slot(act)
    token = _CURRENT.set(slot)
    try:
        yield
    finally:
        _CURRENT.reset(token)
        # A task that was started here and lives on has copied the variable: empty it for that too.
        slot.act = None


def current_act() -> Act | None:
    """In whose name this task works now; None for the clock's work and for buyers."""
    slot = _CURRENT.get()
    return None if slot is None else slot.act
