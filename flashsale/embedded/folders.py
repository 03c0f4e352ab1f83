"""Data folder, its locks, and the short private folder of its sockets; must never delete data."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from flashsale.embedded.errors import DataDirInUseError, EmbeddedError

SOCKET_PATH_BYTES_MAX = 107
_LONGEST_SOCKET = "/postgres/.s.PGSQL.5432"
# Postgres reads a comma in a socket folder as a separator; the others would need quoting in a URL.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9._/+-]+")
_SUPERVISOR_PATIENCE_SECONDS = 2
_SERVERS_PATIENCE_SECONDS = 15


@contextlib.asynccontextmanager
async def locked(data_dir: Path) -> AsyncIterator[int]:
    """Hold `data_dir` for one supervisor; yields a descriptor that its servers must inherit.

    The second lock belongs to the descriptor, so it is free only when the last process that
    inherited it is gone: the servers of a killed supervisor are waited for instead of started
    beside. DataDirInUseError while a live supervisor, or for 15 s a dying server, holds the folder.
    """
    in_use = f"{data_dir} is in use by another flashsale; stop it or choose another --data-dir."
    still_ending = f"The servers that last used {data_dir} have not ended; end them and try again."
    async with (
        _lock(data_dir / "supervisor.lock", _SUPERVISOR_PATIENCE_SECONDS, in_use),
        _lock(data_dir / "servers.lock", _SERVERS_PATIENCE_SECONDS, still_ending) as descriptor,
    ):
        yield descriptor


@contextlib.asynccontextmanager
async def _lock(path: Path, patience_seconds: float, refusal: str) -> AsyncIterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + patience_seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise DataDirInUseError(refusal) from None
                await asyncio.sleep(0.05)
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def socket_dir(data_dir: Path) -> Iterator[Path]:
    """A folder of mode 0700 for sockets, with a path short enough for all of them.

    It is inside `data_dir` where that path allows, else in a temporary folder and named after
    `data_dir`, so that URLs stay the same from one start to the next.
    """
    path = _choose_socket_dir(data_dir.resolve())
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise EmbeddedError(f"{path} belongs to someone else; remove it and try again.")
    path.chmod(0o700)
    _empty(path)
    try:
        yield path
    finally:
        _empty(path)
        with contextlib.suppress(OSError):
            path.rmdir()


def _empty(path: Path) -> None:
    """Remove what a server left, and nothing that anybody else may have put there."""
    for name in ("postgres", "redis"):
        shutil.rmtree(path / name, ignore_errors=True)


def _choose_socket_dir(data_dir: Path) -> Path:
    key = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
    name = f"flashsale-{os.geteuid()}-{key}"
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR")
    candidates = [data_dir / "run", Path(tempfile.gettempdir()) / name, Path("/tmp") / name]
    if runtime_dir and os.access(runtime_dir, os.W_OK):
        candidates.insert(1, Path(runtime_dir) / name)
    for candidate in candidates:
        longest = f"{candidate}{_LONGEST_SOCKET}"
        if len(longest) <= SOCKET_PATH_BYTES_MAX and _PLAIN_PATH.fullmatch(longest):
            return candidate
    raise AssertionError("a name under /tmp always fits")
