"""One limit in one process: what it decides alone, and whom it has to ask. Knows no request."""

from __future__ import annotations

import time
from array import array
from typing import NamedTuple, Protocol

from flashsale.limits.gcra import Rate, divided
from flashsale.limits.recent import Recent

#: Whom a limit counts: an address, a sale, or a merchant's buyer.
Subject = str | tuple[str, str]

#: What `room` found and `spend` takes: an instant of the share, or this for a unit of a lease.
Note = float
LEASED: Note = -1.0
#: A lease is what a subject may do in this part of a second, so that it asks no oftener.
LEASES_A_SECOND = 100


class Common(Protocol):
    """What holds the common pots: Redis, through a `Pot`."""

    async def ask(self, limiter: Limiter, subject: Subject) -> float:
        """Seconds to wait; 0.0 where the subject is admitted."""


class _Busy(NamedTuple):
    """A subject above its share: units leased until an instant, or shut out until one."""

    leased: int
    leased_until: float
    shut_until: float


class Limiter:
    """Counts the requests of each subject against one limit.

    `room` and `spend` are two, so that a look which comes to nothing has counted nothing: between
    the two nobody may be let in. Instants are seconds of `time.monotonic`.

    Shares stand in a table of fixed size, without names: subjects whose hashes fall together have
    one share between them, and so ask Redis, which knows them by name, a little sooner. It costs
    the same for a million subjects as for one, and a flood of new names displaces nobody.
    """

    def __init__(
        self,
        name: str,
        common: Common,
        *,
        per_second: int,
        burst_seconds: int,
        share_percent: int,
        subjects_max: int,
    ) -> None:
        self.name = name
        self.quota, self.window_seconds = per_second * burst_seconds, burst_seconds
        share, self.pot = divided(per_second, burst_seconds, share_percent)
        self.lease = min(max(1, per_second // LEASES_A_SECOND), self.pot.burst)
        self._interval, self._slack = _share_terms(share)
        self._common = common
        slots = 1 << (subjects_max - 1).bit_length()
        self._spent_until = array("d", bytes(8 * slots))
        self._mask = slots - 1
        self._busy: Recent[Subject, _Busy] = Recent(subjects_max)

    def room(self, subject: Subject, now: float) -> Note | None:
        """What to `spend`; None where this process cannot admit the subject by itself."""
        spent_until = self._spent_until[hash(subject) & self._mask]
        if spent_until < now:  # noqa: PLR1730 - max() takes longer than all the rest
            spent_until = now
        if spent_until - now <= self._slack:
            return spent_until + self._interval
        busy = self._busy.get(subject)
        if busy is not None and busy.leased and now < busy.leased_until:
            return LEASED
        return None

    def spend(self, subject: Subject, note: Note) -> None:
        """Count one request, by what `room` has found at this very moment."""
        if note >= 0:
            self._spent_until[hash(subject) & self._mask] = note
        elif (busy := self._busy.get(subject)) is not None:
            self._busy.put(subject, busy._replace(leased=busy.leased - 1))

    def shut(self, subject: Subject, now: float) -> float:
        """Seconds for which the common pot is known to have nothing for the subject; or 0.0."""
        busy = self._busy.get(subject)
        return max(0.0, busy.shut_until - now) if busy is not None else 0.0

    def learn(self, subject: Subject, *, unused: int, wait: float, now: float) -> None:
        """Note what the common pot said: units left over, or seconds until there is one."""
        self._busy.put(subject, _Busy(unused, now + self.window_seconds, now + wait))

    async def admit(self, subject: Subject) -> float:
        """Count one request; 0.0, or the seconds after which there is room again.

        Raises StoreBusyError where too many are waiting to be told.
        """
        now = time.monotonic()
        note = self.room(subject, now)
        if note is not None:
            self.spend(subject, note)
            return 0.0
        return self.shut(subject, now) or await self._common.ask(self, subject)

    @property
    def remembered(self) -> int:
        """Subjects above their share that this process knows by name; at most `subjects_max`."""
        return len(self._busy)


def _share_terms(share: Rate | None) -> tuple[float, float]:
    """What a unit costs and how far ahead one may be; nothing fits into a negative slack."""
    if share is None:
        return 0.0, -1.0
    # A clock in floating point: without this hair the last unit of a burst could be lost to it.
    return share.seconds_a_unit, (share.burst - 1) * share.seconds_a_unit + 1e-6
