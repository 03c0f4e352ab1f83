"""Child processes that never outlive their supervisor; never started from a side thread."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LAUNCHER = Path(__file__).with_name("launcher.py")
_LOG_BYTES_MAX = 16 * 1024 * 1024
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Account:
    """The operating system account a child runs as."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Child:
    """A running process with the place in its log where this run begins."""

    name: str
    log_path: Path
    log_start: int
    popen: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """The process id, which is also the program's own: the launcher execs."""
        return self.popen.pid

    def exit_code(self) -> int | None:
        """The exit code (negative: the signal's number), or None while it runs."""
        return self.popen.poll()

    async def wait(self) -> int:
        """Wait until the process has ended and been reaped; its exit code."""
        while (code := self.popen.poll()) is None:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_SECONDS)  # only the kernel knows, and it sets no Event
        return code

    async def stop(self, stop_signal: int = signal.SIGTERM, patience_seconds: float = 10) -> int:
        """Ask it to end, wait, and kill it when it has not ended in time; its exit code."""
        self.popen.send_signal(stop_signal)  # does nothing once the process has been reaped
        try:
            async with asyncio.timeout(patience_seconds):
                return await self.wait()
        except TimeoutError:
            self.popen.kill()
            return await self.wait()

    def last_words(self) -> str:
        """The line of this run's log that best says why it ended; empty when it said nothing."""
        with self.log_path.open("rb") as log:
            log.seek(self.log_start)
            lines = log.read().decode(errors="replace").splitlines()
        fatal = [line for line in lines if "FATAL" in line or "PANIC" in line]
        said = fatal or [line for line in lines if line.strip()]
        return said[-1].strip() if said else ""


def spawn(
    name: str,
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    log_path: Path,
    user: Account | None = None,
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
    death_signal: int = signal.SIGKILL,
) -> Child:
    """Start `argv` in a session of its own, its output appended to `log_path`.

    Ctrl-C reaches only the supervisor, and the kernel sends `death_signal` to the child when the
    supervisor dies, however it dies. The kernel watches the *thread* that forked, so this must be
    called from the main thread; RuntimeError otherwise.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("children must be started from the main thread")
    log_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if log_path.stat().st_size > _LOG_BYTES_MAX:
            log_path.replace(log_path.with_suffix(".log.1"))
    account = user or Account(-1, -1)
    launch = [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), str(int(death_signal))]
    with log_path.open("ab") as log:
        log_start = log.tell()
        popen = subprocess.Popen(
            [*launch, str(account.uid), str(account.gid), *argv],
            env=env,
            cwd=cwd,
            pass_fds=pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Child(name, log_path, log_start, popen)
