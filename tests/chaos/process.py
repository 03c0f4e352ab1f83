"""Runs a command of the engine with places where it can be told to die. Changes no rule of it.

    python -m tests.chaos.process web --port 8080

`FLASHSALE_TEST_CHAOS` names a folder. A file `crash/<point>` in it makes the next process that
comes to this point end there, at once and without a word; the file is removed first, so that one
process dies of it. Checkouts last seconds instead of minutes, or no run would see one end.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

from flashsale.payments import opening, sweep
from flashsale.payments.intake import Intake
from flashsale.payments.outbox import Bounds
from flashsale.payments.providers.sandbox import SandboxProvider
from flashsale.payments.service import PaymentDesk
from flashsale.recovery import plan
from flashsale.reservation.rebuilding import LaneRebuilder
from flashsale.reservation.scripts import ScriptRunner
from flashsale.reservation.store import ReservationStore
from flashsale.stream.reader import LaneReader

FOLDER_VARIABLE = "FLASHSALE_TEST_CHAOS"
PLANTED_VARIABLE = "FLASHSALE_TEST_PLANTED"
CHECKOUT_MS = 4_000
GRACE_MS = 1_500
RECOVERY_GRACE_MS = 5_000
#: A wish that has failed often is tried again after a minute, in earnest.
OUTBOX = {"most_ms": 3_000}

#: Where a process can be told to die.
POINTS = (
    "after_lua",
    "before_pay_recorded",
    "after_capture",
    "before_acknowledge",
    "after_callback_commit",
    "mid_expiry",
    "after_open",
    "after_refund",
    "mid_recovery",
)
_EXIT_CODE = 137


def _folder() -> Path:
    return Path(os.environ[FOLDER_VARIABLE])


def die(point: str) -> None:
    """End here if a file asks for it."""
    try:
        (_folder() / "crash" / point).unlink()
    except FileNotFoundError:
        return
    note(f"crash.{point}")
    os._exit(_EXIT_CODE)


def note(what: str, times: int = 1) -> None:
    """Count something that must happen sometimes; it outlives a kill."""
    with (_folder() / "sometimes.log").open("a") as log:
        log.write(f"{what} {times}\n")


def _around(
    owner: type,
    name: str,
    *,
    before: Callable[..., None] | None = None,
    after: Callable[..., None] | None = None,
) -> None:
    """Call `before(*arguments)` and `after(result, *arguments)` around a coroutine method."""
    original = getattr(owner, name)

    @functools.wraps(original)
    async def wrapped(*args: Any, **options: Any) -> Any:
        if before is not None:
            before(*args)
        result = await original(*args, **options)
        if after is not None:
            after(result, *args)
        return result

    setattr(owner, name, wrapped)


AFTER_SCRIPT = {
    "reserve": "after_lua",
    "pay": "before_pay_recorded",
    "capture": "after_capture",
}


def _after_script(_: Any, _runner: Any, script: str, *__: Any) -> None:
    if (point := AFTER_SCRIPT.get(script)) is not None:
        die(point)


def _after_expiry(expired: Any, *_: Any) -> None:
    if expired.count:
        note("expiry", expired.count)
        die("mid_expiry")


def _after_reclaim(delivery: Any, *_: Any) -> None:
    if delivery.size:
        note("reclaim", delivery.size)


def _hurry() -> None:
    """Clocks that no setting reaches; what they are for is untouched."""
    plan.GRACE_MS = RECOVERY_GRACE_MS
    defaults = {each.name: each.default for each in fields(Bounds)} | OUTBOX
    Bounds.__init__.__defaults__ = tuple(defaults.values())
    opening.GRACE_MS = GRACE_MS
    sweep._GRACE = timedelta(milliseconds=GRACE_MS / 2)
    original = PaymentDesk.__init__

    @functools.wraps(original)
    def shorter(self: PaymentDesk, *args: Any, **options: Any) -> None:
        original(self, *args, **(options | {"checkout_ms": CHECKOUT_MS}))

    PaymentDesk.__init__ = shorter  # type: ignore[method-assign]


def install() -> None:
    """Put the points where they belong."""
    _hurry()
    _around(ScriptRunner, "run", after=_after_script)
    _around(LaneReader, "acknowledge", before=lambda *_: die("before_acknowledge"))
    _around(LaneReader, "reclaim", after=_after_reclaim)
    _around(Intake, "take", after=lambda *_: die("after_callback_commit"))
    _around(ReservationStore, "expire_due", after=_after_expiry)
    _around(SandboxProvider, "open", after=lambda *_: die("after_open"))
    _around(SandboxProvider, "refund", after=lambda *_: die("after_refund"))
    _around(LaneRebuilder, "put", before=lambda *_: die("mid_recovery"))


def main() -> None:
    """The command."""
    install()
    if planted := os.environ.get(PLANTED_VARIABLE):
        from tests.chaos import planted as bugs

        bugs.install(planted)
    from flashsale.cli import main as run

    sys.argv[0] = "flashsale"
    run()


if __name__ == "__main__":
    main()
