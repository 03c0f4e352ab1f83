"""A data folder has one supervisor, and waits for the servers of the one before."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from flashsale.embedded import folders
from flashsale.embedded.errors import DataDirInUseError, EmbeddedError
from flashsale.embedded.folders import locked, socket_dir
from flashsale.embedded.process import spawn


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(folders, "_SUPERVISOR_PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(folders, "_SERVERS_PATIENCE_SECONDS", 0.1)


@pytest.mark.parametrize("inherits", [True, False], ids=["server", "control"])
async def test_a_server_that_still_lives_keeps_the_folder(tmp_path: Path, inherits: bool):
    async with locked(tmp_path) as descriptor:
        server = spawn(
            "server",
            ["/bin/sleep", "600"],
            env={},
            log_path=tmp_path / "server.log",
            pass_fds=(descriptor,) if inherits else (),
        )
    if inherits:
        with pytest.raises(DataDirInUseError, match="have not ended"):
            async with locked(tmp_path):
                pass
        await server.stop(signal.SIGKILL)
    async with locked(tmp_path):
        pass
    await server.stop(signal.SIGKILL)


async def test_both_servers_hold_the_lock(tmp_path: Path, supervise):
    supervisor = supervise(tmp_path / "data")
    for pid in supervisor.pids.values():
        held = [path.readlink() for path in Path(f"/proc/{pid}/fd").iterdir()]
        assert tmp_path / "data" / "servers.lock" in held


async def test_a_supervisor_is_refused_while_another_lives(tmp_path: Path):
    async with locked(tmp_path):
        with pytest.raises(DataDirInUseError, match="is in use by another flashsale"):
            async with locked(tmp_path):
                pass


def test_sockets_are_beside_the_data_where_the_path_is_short_enough(tmp_path: Path):
    short = tmp_path / "d"
    short.mkdir()
    with socket_dir(short) as inside, socket_dir(tmp_path / ("d" * 90)) as outside:
        assert inside == short / "run"
        assert not outside.is_relative_to(tmp_path)
    with socket_dir(tmp_path / ("d" * 90)) as again:
        assert again == outside


def test_a_folder_of_somebody_else_is_not_trusted(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EmbeddedError, match="belongs to someone else"), socket_dir(tmp_path):
        pass


def test_what_others_put_beside_the_sockets_stays(tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes").touch()
    with socket_dir(tmp_path) as folder:
        (folder / "redis").mkdir()
    assert [path.name for path in folder.iterdir()] == ["notes"]
