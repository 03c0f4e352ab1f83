"""Runs between fork and server: drops privileges, ties its life to the supervisor, then execs.

A program of its own because `preexec_fn` is unsafe in a process that has threads. It is run with
`python -I -S`, so it must never import anything but the standard library.

    launcher.py SUPERVISOR_PID DEATH_SIGNAL UID GID PROGRAM ARGUMENT...

UID -1 means: stay who we are.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Become the program named in `arguments`; exit quietly when the supervisor is gone already."""
    supervisor_pid, death_signal, uid, gid = (int(text) for text in arguments[:4])
    argv = arguments[4:]
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # The kernel forgets the death signal when credentials change, so this comes after them.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != supervisor_pid:
        # The supervisor died before the death signal was set: nobody would stop the program.
        sys.exit(1)
    try:
        os.execv(argv[0], argv)
    except OSError as error:
        sys.exit(f"FATAL: cannot run {argv[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
