"""The exceptions of the Redis side; refusals are not among them, they are values.

StoreError
├── StoreUnavailableError   no answer: the effect is unknown, a retry with the same key reads it
├── StoreBusyError          too much is waiting: nothing was sent
├── LaneLostError           the lane is missing or of another epoch: recovery is due
└── ScriptError             a script could not be read, expanded or loaded
"""

from __future__ import annotations


class StoreError(Exception):
    """Anything that kept a command from being answered."""


class StoreUnavailableError(StoreError):
    """Redis did not answer; what was sent may have taken effect."""


class StoreBusyError(StoreError):
    """The queue before Redis is full; nothing was sent."""


class LaneLostError(StoreError):
    """Redis does not hold this lane as Postgres knows it."""


class ScriptError(StoreError):
    """A script file is wrong; names file and line."""
