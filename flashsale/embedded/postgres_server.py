"""The bundled Postgres: created once, never run as root, never listening on TCP."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from flashsale.embedded.binaries import find_postgres_bin_dir
from flashsale.embedded.errors import ServerStartError
from flashsale.embedded.process import Account, Child, spawn
from flashsale.embedded.server import clean_environment

PORT = 5432
_CREATE_SQL = "CREATE ROLE flashsale LOGIN CREATEDB;\nCREATE DATABASE flashsale OWNER flashsale;\n"
_PID_LINE, _STATUS_LINE = 0, 7


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """Where the server keeps its data and its socket, and what promises it is started with."""

    data_dir: Path
    socket_dir: Path
    log_path: Path
    lock_descriptor: int
    durability: Literal["strict", "relaxed"]

    name: ClassVar[str] = "postgres"
    stop_signal: ClassVar[int] = signal.SIGINT

    @property
    def dsn(self) -> str:
        """The DSN that asyncpg and libpq read; the port is said so that PGPORT cannot change it."""
        return f"postgresql:///flashsale?host={self.socket_dir}&port={PORT}&user=flashsale"

    def prepare(self) -> None:
        """Create the cluster, the role and the database unless they exist.

        They are made in a folder beside and renamed when complete, so a kill in the middle leaves
        nothing half made.
        """
        account = _account(self.data_dir)
        self.socket_dir.mkdir(mode=0o700)
        _give(self.socket_dir, account)
        if self.data_dir.exists():
            _remove_stale_pid_file(self.data_dir / "postmaster.pid")
            return
        unfinished = self.data_dir.with_name(f"{self.data_dir.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        _give(unfinished, account)
        self._create(unfinished, account)
        unfinished.rename(self.data_dir)

    def _create(self, folder: Path, account: Account | None) -> None:
        bin_dir = find_postgres_bin_dir()
        create = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]
        with _reachable(folder, account) as (place, descriptors):
            for argv, text in (
                ([str(bin_dir / "initdb"), "-D", place, *create], ""),
                ([str(bin_dir / "postgres"), "--single", "-D", place, "postgres"], _CREATE_SQL),
            ):
                ran = subprocess.run(
                    argv,
                    input=text,
                    text=True,
                    check=False,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    env=clean_environment(),
                    cwd="/",
                    pass_fds=(*descriptors, self.lock_descriptor),
                    user=None if account is None else account.uid,
                    group=None if account is None else account.gid,
                    extra_groups=None if account is None else [],
                )
                if ran.returncode != 0 or "ERROR" in ran.stdout:
                    self.log_path.write_text(ran.stdout)
                    lines = ran.stdout.strip().splitlines()
                    raise ServerStartError(
                        f"Postgres could not be set up: {lines[-1] if lines else argv[0]} "
                        f"The whole message is in {self.log_path}."
                    )

    def spawn(self) -> Child:
        """Start the program."""
        account = _account(self.data_dir)
        with (
            _reachable(self.data_dir, account) as (place, data_descriptors),
            _reachable(self.socket_dir, account) as (socket_place, socket_descriptors),
        ):
            postgres = str(find_postgres_bin_dir() / "postgres")
            return spawn(
                self.name,
                [postgres, "-D", place, "-k", socket_place, *self._settings()],
                env=clean_environment(),
                log_path=self.log_path,
                user=account,
                cwd=Path("/"),
                pass_fds=(*data_descriptors, *socket_descriptors, self.lock_descriptor),
                # An immediate shutdown takes the backends along; SIGKILL would leave them behind.
                death_signal=signal.SIGQUIT,
            )

    def _settings(self) -> list[str]:
        settings = {
            "port": str(PORT),
            "listen_addresses": "",
            "unix_socket_permissions": "0700",
            "fsync": "on",
            "synchronous_commit": "on" if self.durability == "strict" else "off",
            "shared_buffers": "128MB",
            "max_connections": "100",
            # One launch must not bring a storm of checkpoints.
            "max_wal_size": "1GB",
            "checkpoint_timeout": "15min",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        return [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]

    async def is_ready(self, child: Child) -> bool:
        """Whether this very process has said "ready" in its pid file, as pg_ctl asks it."""
        with contextlib.suppress(FileNotFoundError, IndexError, ValueError):
            lines = (self.data_dir / "postmaster.pid").read_text().splitlines()
            return int(lines[_PID_LINE]) == child.pid and lines[_STATUS_LINE].strip() == "ready"
        return False


def _account(data_dir: Path) -> Account | None:
    """Whom to run as: Postgres refuses root, so root lends it the data's owner, at first nobody."""
    if os.geteuid() != 0:
        return None
    if data_dir.exists() and (owner := data_dir.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)


def _give(folder: Path, account: Account | None) -> None:
    if account is not None:
        os.chown(folder, account.uid, account.gid)


@contextlib.contextmanager
def _reachable(folder: Path, account: Account | None) -> Iterator[tuple[str, tuple[int, ...]]]:
    """A path to `folder` for a child that runs as `account`, and the descriptors it must inherit.

    Another account may be unable to pass the folders above (a 0700 home): it gets the folder as an
    open descriptor, whose name under /proc needs no passage.
    """
    if account is None:
        yield str(folder.absolute()), ()
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}", (descriptor,)
    finally:
        os.close(descriptor)


def _remove_stale_pid_file(path: Path) -> None:
    """Remove a killed server's pid file unless its number belongs to a server of this very folder.

    Postgres takes any living process of its own account for its predecessor, and is wrong about a
    zombie that nobody reaps and about a number given out again after a restart of the container.
    """
    with contextlib.suppress(OSError, IndexError, ValueError):
        pid = int(path.read_text().splitlines()[_PID_LINE])
        if not _works_in(pid, path.parent):
            path.unlink()


def _works_in(pid: int, folder: Path) -> bool:
    """Whether a process works in a folder: a Postgres does in its data, a zombie nowhere."""
    try:
        return Path(f"/proc/{pid}/cwd").samefile(folder)
    except OSError:
        return False
