"""Loads `lua/`: expands includes, hashes, runs by digest; never builds a script from input."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path
from typing import Any

from redis.exceptions import (
    ClusterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from flashsale.reservation.answered import no_answer
from flashsale.reservation.errors import ScriptError, StoreUnavailableError
from flashsale.reservation.links import Links

_INCLUDE = re.compile(r'^--- @include "([a-z_]+)"$')
_SHEBANG = re.compile(r"^#!lua( flags=[a-z-]+(,[a-z-]+)*)?$")
_FAULT_LINE = re.compile(r"user_script:(\d+)")
_NOT_NOW = (ClusterDownError, OutOfMemoryError, ReadOnlyError)
INCLUDE_DEPTH_MAX = 2


@dataclass(frozen=True, slots=True)
class Script:
    """One transition, expanded.

    `digest` is what EVALSHA names it by; `origins` says of each line of `source` where it stands in
    `lua/`, as `file:line`.
    """

    name: str
    source: str
    digest: str
    origins: tuple[str, ...]

    def locate(self, message: str) -> str:
        """A complaint of Redis about `source`, naming the file and line that a person edits."""
        return _FAULT_LINE.sub(lambda found: self.origins[int(found[1]) - 1], message)


def _expand(path: Path, includes: Path, seen: set[str], depth: int) -> list[tuple[str, str]]:
    """Lines with their origins."""
    lines: list[tuple[str, str]] = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        include = _INCLUDE.match(line)
        if include is None:
            if "@include" in line:
                raise ScriptError(f'{path.name}:{number}: an include reads --- @include "name"')
            # Comments cost nothing once compiled, but every start sends and hashes them.
            if not line.lstrip().startswith("---"):
                lines.append((line, f"{path.name}:{number}"))
            continue
        target = includes / f"{include[1]}.lua"
        if not target.is_file():
            raise ScriptError(f"{path.name}:{number}: there is no include {include[1]!r}")
        if depth == INCLUDE_DEPTH_MAX:
            raise ScriptError(
                f"{path.name}:{number}: includes nest deeper than {INCLUDE_DEPTH_MAX}"
            )
        if include[1] not in seen:
            seen.add(include[1])
            lines += _expand(target, includes, seen, depth + 1)
    return lines


def load_script(path: Path) -> Script:
    """One file of `lua/`, includes expanded once each.

    Raises ScriptError with file and line.
    """
    lines = _expand(path, path.parent / "includes", set(), 0)
    if not lines or lines[0][1] != f"{path.name}:1" or not _SHEBANG.match(lines[0][0]):
        raise ScriptError(f"{path.name}:1: a script starts with #!lua and its flags")
    source = "".join(f"{line}\n" for line, _ in lines)
    digest = sha1(source.encode(), usedforsecurity=False).hexdigest()
    return Script(path.stem, source, digest, tuple(origin for _, origin in lines))


def load_scripts(folder: Path) -> Mapping[str, Script]:
    """Every transition of `lua/` by name. Raises ScriptError where one is wrong or none is."""
    scripts = {path.stem: load_script(path) for path in sorted(folder.glob("*.lua"))}
    if not scripts:
        raise ScriptError(f"{folder} holds no scripts")
    return scripts


class ScriptRunner:
    """Runs scripts on one Redis. A dropped reply is never retried here: the effect is unknown."""

    def __init__(self, links: Links, scripts: Mapping[str, Script]) -> None:
        self._links = links
        self._scripts = scripts
        self._known: set[str] = set()
        #: Times that Redis had forgotten a script we gave it: it was restarted or flushed.
        self.forgotten = 0

    async def run(self, name: str, keys: Sequence[str], args: Sequence[str | int]) -> list[Any]:
        """The script's reply, a flat list with its status first.

        Raises StoreUnavailableError where no answer came, ScriptError where the script is at fault.
        """
        script = self._scripts[name]
        try:
            try:
                reply = await self._evaluate(script, keys, args)
            except NoScriptError:
                # Nothing ran, so running it again is safe; epochs inside decide whether it may.
                self.forgotten += name in self._known
                await self._links.call("SCRIPT", "LOAD", script.source)
                reply = await self._evaluate(script, keys, args)
        except (RedisConnectionError, RedisTimeoutError, TimeoutError, OSError) as error:
            raise no_answer(error) from error
        except ResponseError as error:
            # redis-py takes the code off a message that it has a class for.
            if isinstance(error, _NOT_NOW) or str(error).startswith(("MISCONF", "BUSY")):
                raise StoreUnavailableError(f"Redis takes no writes: {error}") from error
            raise ScriptError(f"{name}.lua: {script.locate(str(error))}") from error
        self._known.add(name)
        return reply

    async def _evaluate(
        self, script: Script, keys: Sequence[str], args: Sequence[str | int]
    ) -> list[Any]:
        reply: list[Any] = await self._links.call("EVALSHA", script.digest, len(keys), *keys, *args)
        return reply
