"""Children say why they ended, are stopped in the end, and belong to the main thread."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flashsale.embedded import launcher
from flashsale.embedded.process import Child, spawn


def python(folder: Path, code: str, name: str = "child") -> Child:
    return spawn(
        name, [sys.executable, "-c", code], env={}, log_path=folder / "logs" / f"{name}.log"
    )


async def ready(child: Child) -> None:
    async with asyncio.timeout(30):
        while "ready" not in child.last_words():
            await asyncio.sleep(0.01)


async def test_a_child_has_its_own_session_and_only_the_environment_it_is_given(tmp_path: Path):
    code = "import os; print(os.getpid() == os.getsid(0), sorted(os.environ))"
    child = python(tmp_path, code)
    assert await child.wait() == 0
    assert child.last_words().startswith("True [")
    assert "PATH" not in child.last_words()
    assert child.last_words() in child.log_path.read_text()


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        (["one", "two", ""], "two"),
        (["FATAL: no room", "shutting down"], "FATAL: no room"),
        ([], ""),
    ],
)
async def test_last_words_say_why(tmp_path: Path, printed: list[str], words: str):
    await python(tmp_path, "print('FATAL: an earlier run')").wait()
    child = python(tmp_path, f"print(*{printed}, sep=chr(10), end='')")
    await child.wait()
    assert child.last_words() == words


async def test_a_program_that_cannot_be_run_says_so(tmp_path: Path):
    child = spawn("child", [str(tmp_path / "missing")], env={}, log_path=tmp_path / "child.log")
    assert await child.wait() == 1
    assert child.last_words() == (
        f"FATAL: cannot run {tmp_path / 'missing'}: No such file or directory"
    )


async def test_stop_asks_first_and_kills_who_does_not_listen(tmp_path: Path):
    wait = "import time; print('ready', flush=True); time.sleep(600)"
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    polite, stubborn = python(tmp_path, wait, "polite"), python(tmp_path, ignore + wait, "stubborn")
    await asyncio.gather(ready(polite), ready(stubborn))
    assert await polite.stop() == -signal.SIGTERM
    assert await stubborn.stop(patience_seconds=0.1) == -signal.SIGKILL
    assert await stubborn.stop() == -signal.SIGKILL


async def test_a_side_thread_may_not_start_children(tmp_path: Path):
    with pytest.raises(RuntimeError, match="main thread"):
        await asyncio.to_thread(python, tmp_path, "pass")


def test_a_child_of_a_supervisor_that_is_gone_does_not_start():
    not_our_parent = str(os.getpid() + 1)
    command = [sys.executable, "-I", "-S", launcher.__file__, not_our_parent, "9", "-1", "-1"]
    ran = subprocess.run([*command, "/bin/echo", "alive"], capture_output=True, check=False)
    assert (ran.returncode, ran.stdout) == (1, b"")


async def test_a_log_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("flashsale.embedded.process._LOG_BYTES_MAX", 100)
    for number in range(4):
        await python(tmp_path, f"print('{number}' * 150)").wait()
    logs = tmp_path / "logs"
    kept = {path.name: path.read_text()[0] for path in logs.iterdir()}
    assert kept == {"child.log": "3", "child.log.1": "2"}
