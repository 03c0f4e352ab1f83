"""Reads a script's header and body as text, for the tests that hold one to the other."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flashsale.domain.outcomes import Status
from flashsale.reservation.scripts import Script, load_script

LUA = Path(__file__).parents[2] / "lua"
PATHS = {path.stem: path for path in sorted(LUA.glob("*.lua"))}
FIELDS = ("Purpose", "Touches", "KEYS", "ARGV", "Returns", "Emits", "Cost")
WRITES = ("HSET", "HSETNX", "HINCRBY", "ZADD", "ZREM", "SADD", "XADD", "XTRIM", "UNLINK")
READS = {
    *("TIME", "EXISTS", "HGET", "HMGET", "HLEN", "SISMEMBER", "ZCARD", "ZRANGE", "ZRANGEBYSCORE"),
    *("XLEN", "XRANGE", "XINFO", "XPENDING"),
}
_STATUS_WORD = re.compile(r"\b[A-Z]+(?:_[A-Z]+)+\b|\b[A-Z]{4,}\b")
_NUMBERED = re.compile(r"(?:^|; )(\d+) (\w+) (\w+)")


@dataclass(frozen=True)
class Header:
    """The fields of a header; `keys` and `arguments` are (name, type) in order."""

    fields: dict[str, str]
    keys: tuple[tuple[str, str], ...]
    arguments: tuple[tuple[str, str], ...]
    statuses: tuple[str, ...]


def _numbered(text: str) -> tuple[tuple[str, str], ...]:
    found = _NUMBERED.findall(text)
    assert [int(number) for number, _, _ in found] == list(range(1, len(found) + 1)), text
    return tuple((name, kind) for _, name, kind in found)


@cache
def header(name: str) -> Header:
    """The header of one script, continuation lines joined."""
    fields: dict[str, str] = {}
    field = ""
    for line in PATHS[name].read_text().splitlines()[1:]:
        if not line.startswith("---") or "@include" in line:
            break
        started = re.match(r"--- (\w+): (.+)", line)
        if started:
            field = started[1]
            fields[field] = started[2]
        else:
            fields[field] += " " + line.removeprefix("---").strip()
    statuses = tuple(dict.fromkeys(_STATUS_WORD.findall(re.sub(r"\(.*?\)", "", fields["Returns"]))))
    return Header(fields, _numbered(fields["KEYS"]), _numbered(fields["ARGV"]), statuses)


@cache
def script(name: str) -> Script:
    """The script as it is sent to Redis."""
    return load_script(PATHS[name])


def body(name: str) -> str:
    """What a script does itself, without header and includes."""
    lines = PATHS[name].read_text().splitlines()[1:]
    return "\n".join(line for line in lines if not line.startswith("---"))


def without_calls(source: str) -> str:
    """The source without the arguments of `redis.call`, nested parentheses included."""
    kept, at = [], 0
    for start in re.finditer(r"redis\.call\(", source):
        if start.start() < at:
            continue
        kept.append(source[at : start.start()])
        depth, at = 1, start.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(source[at], 0)
            at += 1
    return "".join(kept) + source[at:]


def answered(name: str) -> set[str]:
    """The statuses that a script, its includes among it, can put into a reply."""
    return set(re.findall(r"'([A-Z][A-Z_]+)'", without_calls(script(name).source)))


def commands(source: str) -> list[str]:
    """The Redis commands of a source in the order of the text."""
    return re.findall(r"redis\.call\(\s*'(\w+)'", source)


REFUSALS = set(Status) - {
    Status.RESERVED,
    Status.REPLAYED,
    Status.RELEASED,
    Status.PAYING,
    Status.DECLINED,
    Status.CAPTURED,
    Status.RETURNED,
    Status.CHANGED,
    Status.OPENED,
    Status.UPDATED,
    Status.DONE,
}
