"""Bugs in the scripts that Redis runs: changed lines."""

from __future__ import annotations

from tests.chaos.planted import patches
from tests.chaos.planted.values import LATE_MONEY, Bug, Edit, Fault

SCRIPTS = (
    Bug(
        "skip_limit_check",
        "a buyer may have any number",
        frozenset({"INV-7"}),
        edits=(
            Edit(
                "reserve.lua",
                "elseif counts[buyer] + quantity > buyer_limit then",
                "  elseif false then",
            ),
        ),
    ),
    Bug(
        "return_stock_twice",
        "what ends gives its units back twice",
        frozenset({"INV-1", "INV-3"}),
        edits=(
            Edit(
                "move_holds.lua",
                "redis.call('HINCRBY', keys.stock, (after or 'available:') .. to, quantity)",
                "    redis.call('HINCRBY', keys.stock, (after or 'available:') .. to,"
                " after and quantity or decimal(2 * hold.quantity))",
            ),
        ),
    ),
    Bug(
        "drop_event",
        "a cancellation leaves no event",
        frozenset({"INV-4"}),
        edits=(
            Edit(
                "append_entry.lua",
                "local available = redis.call('HMGET', stock, unpack(fields))",
                "  if string.sub(lines[1], 1, 1) == 'C' then return 0 end"
                " local available = redis.call('HMGET', stock, unpack(fields))",
            ),
        ),
    ),
    Bug(
        "lose_entry",
        "a release is counted as an entry that was never appended",
        frozenset({"INV-15"}),
        edits=(
            Edit(
                "append_entry.lua",
                "local seq = redis.call('HINCRBY', meta, 'seq', 1)",
                "  local seq = redis.call('HINCRBY', meta, 'seq', 1)"
                " if string.sub(lines[1], 1, 1) == 'C' then return seq end",
            ),
        ),
    ),
    Bug(
        "ignore_record",
        "a repeated request is decided anew",
        frozenset({"INV-1", "INV-5", "INV-7"}),
        edits=(
            Edit(
                "reserve.lua",
                "local record = fresh[order] or records[request]",
                "  local record",
            ),
        ),
    ),
    Bug(
        "accept_other_body",
        "a key's second body is answered with the order of the first",
        frozenset({"INV-10"}),
        edits=(
            Edit(
                "reserve.lua",
                "if tonumber(held_item) == item and tonumber(held_quantity) == quantity then",
                "    if held_item and held_quantity then",
            ),
        ),
    ),
    Bug(
        "sell_while_paused",
        "a lane that is paused goes on selling",
        frozenset({"INV-13"}),
        faults=(Fault(1500, "pause_sale", {"ms": 2000}),),
        edits=(Edit("window.lua", "if state == 'paused' then", "  if false then"),),
    ),
    Bug(
        "expire_paying",
        "a checkout does not keep the hold from running out",
        frozenset({"INV-5"}),
        edits=(
            Edit(
                "expire_due.lua",
                "if hold.state == 'P' and hold.deadline_ms > now_ms then",
                "    if false then",
            ),
            Edit(
                "pay.lua",
                "local moves = {{order = order, hold = hold, letter = 'P',"
                " due_ms = now_ms + pay_ms}}",
                "local moves = {{order = order, hold = hold, letter = 'P', due_ms = now_ms}}",
            ),
        ),
    ),
    Bug(
        "forget_deadline",
        "a declined checkout leaves a hold that never ends",
        frozenset({"INV-18"}),
        edits=(
            Edit(
                "decline.lua",
                "local moves = {{order = order, hold = hold, letter = 'R', kind = 'D',"
                " due_ms = hold.deadline_ms}}",
                "local moves = {{order = order, hold = hold, letter = 'R', kind = 'D'}}",
            ),
        ),
        seconds=8,
    ),
    Bug(
        "keep_counting",
        "what a buyer gives back still counts against the limit",
        frozenset({"INV-7"}),
        edits=(
            Edit(
                "move_holds.lua",
                "redis.call('HINCRBY', keys.buyers, hold.buyer, '-' .. quantity)",
                "      redis.call('HINCRBY', keys.buyers, hold.buyer, 0)",
            ),
        ),
    ),
    Bug(
        "sell_to_late_money",
        "late money takes a unit that is not there",
        frozenset({"INV-1"}),
        seconds=14,
        units=15,
        faults=LATE_MONEY,
        edits=(
            Edit(
                "capture.lua",
                "if tonumber(available) < hold.quantity then",
                "  if false then",
            ),
        ),
    ),
    Bug(
        "trim_unsettled",
        "entries are dropped that nobody has settled",
        frozenset({"INV-4", "INV-9", "INV-15"}),
        seconds=8,
        faults=(
            Fault(1500, "stop_and_go", {"name": "settle-1", "ms": 2500}),
            Fault(2000, "stop_and_go", {"name": "settle-2", "ms": 2500}),
            Fault(5000, "stop_and_go", {"name": "settle-1", "ms": 1500}),
        ),
        edits=(
            Edit("trim_events.lua", "if facts['pending'] > 0 then", "  if true then"),
            Edit(
                "trim_events.lua",
                "keep = redis.call('XPENDING', events, facts['name'])[2]",
                "    keep = '99999999999999-0'",
            ),
        ),
    ),
    Bug(
        "accept_foreign_epoch",
        "a lane takes commands of an epoch that has ended, also while it is rebuilt",
        frozenset({"INV-1", "INV-3", "INV-4", "INV-7", "INV-15"}),
        seconds=12,
        faults=(
            # A web process that stood still through a recovery, and cannot ask Postgres.
            Fault(2900, "stop_and_go", {"name": "web-1", "ms": 3500}),
            Fault(3000, "flush_redis"),
            Fault(6000, "black_hole", {"server": "postgres", "ms": 2000}),
        ),
        edits=(Edit("guard.lua", "if found ~= epoch then", "  if false then"),),
        patches=(patches.miss_news,),
    ),
    Bug(
        "recover_without_buyers",
        "a rebuilt lane has forgotten what its buyers have",
        frozenset({"INV-7"}),
        seconds=8,
        faults=(Fault(3000, "empty_redis"),),
        edits=(
            Edit(
                "rebuild_orders.lua",
                "redis.call('HINCRBY', buyers, buyer, quantity)",
                "      redis.call('HSETNX', buyers, buyer, '0')",
            ),
        ),
    ),
)
