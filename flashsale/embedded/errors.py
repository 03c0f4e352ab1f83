"""What can go wrong with bundled servers, each said in one line a user can act on."""

from __future__ import annotations


class EmbeddedError(Exception):
    """A bundled server cannot be used; the message is one plain line for the user.

    EmbeddedError
    ├── BinaryNotFoundError   no usable server program on this machine
    ├── DataDirInUseError     another supervisor, or its dying servers, holds the folder
    ├── PortTakenError        another program listens there
    ├── ServerStartError      the program ran and ended before it was ready
    └── CredentialsError      credentials.json is missing or damaged
    """


class BinaryNotFoundError(EmbeddedError):
    """No usable server program was found."""


class DataDirInUseError(EmbeddedError):
    """The data folder belongs to a supervisor that is still alive."""


class PortTakenError(EmbeddedError):
    """A port cannot be listened on."""


class ServerStartError(EmbeddedError):
    """A server ended, or did not answer, while it was being started."""


class CredentialsError(EmbeddedError):
    """`credentials.json` cannot be read."""
