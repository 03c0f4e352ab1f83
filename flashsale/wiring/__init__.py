"""The composition root: puts each process together out of settings. Holds no rule of its own."""

from __future__ import annotations

from flashsale.wiring.dispatch_process import dispatch
from flashsale.wiring.recovery import recover
from flashsale.wiring.repairs import (
    dismiss_dead_letters,
    list_dead_letters,
    reopen,
    replay_dead_letters,
)
from flashsale.wiring.running import now_utc
from flashsale.wiring.sandbox_process import sandbox
from flashsale.wiring.settlement_process import settle
from flashsale.wiring.timekeeper_process import timekeeper
from flashsale.wiring.web_process import web

__all__ = [
    "dismiss_dead_letters",
    "dispatch",
    "list_dead_letters",
    "now_utc",
    "recover",
    "reopen",
    "replay_dead_letters",
    "sandbox",
    "settle",
    "timekeeper",
    "web",
]
