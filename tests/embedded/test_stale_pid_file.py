"""A pid file left by a kill does not stop Postgres, whatever its number means by now."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from flashsale.embedded.postgres_server import _remove_stale_pid_file


@pytest.fixture
def zombie():
    child = subprocess.Popen(["/bin/true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    yield child.pid
    child.wait()


@pytest.fixture
def server(tmp_path: Path):
    child = subprocess.Popen(["/bin/sleep", "600"], cwd=tmp_path)
    yield child.pid
    child.kill()
    child.wait()


@pytest.mark.parametrize(("who", "kept"), [("zombie", False), ("us", False), ("server", True)])
def test_only_a_server_of_this_very_folder_keeps_its_file(
    tmp_path: Path, zombie: int, server: int, who: str, kept: bool
):
    pid_file = tmp_path / "postmaster.pid"
    pid_file.write_text(f"{ {'zombie': zombie, 'us': os.getpid(), 'server': server}[who] }\n")
    _remove_stale_pid_file(pid_file)
    assert pid_file.exists() == kept


async def test_postgres_starts_though_its_number_belongs_to_another_process(
    tmp_path: Path, supervise
):
    pid_file = tmp_path / "data" / "postgres" / "postmaster.pid"
    supervisor = supervise(tmp_path / "data")
    await supervisor.write(9)
    lines = pid_file.read_text().splitlines()
    supervisor.signal_group(signal.SIGKILL)
    await supervisor.servers_gone()
    # Only a process of its own account looks to Postgres like its predecessor.
    account = (tmp_path / "data" / "postgres").stat().st_uid if os.geteuid() == 0 else None
    other = subprocess.Popen(["/bin/sleep", "600"], user=account)
    try:
        pid_file.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
        os.chown(pid_file, pid_file.parent.stat().st_uid, -1)
        pid_file.chmod(0o600)
        again = supervise(tmp_path / "data")
    finally:
        other.kill()
        other.wait()
    assert await again.read() == (9, 9)
