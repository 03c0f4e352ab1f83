"""What keeps Redis from answering, told as one error. Nothing is tried again here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from redis.exceptions import RedisError

from flashsale.reservation.errors import StoreUnavailableError


def no_answer(error: Exception) -> StoreUnavailableError:
    """The error to raise from another; a time-out has no text of its own, but a name."""
    return StoreUnavailableError(f"Redis did not answer: {str(error) or type(error).__name__}")


@contextlib.contextmanager
def answered() -> Iterator[None]:
    """Raise StoreUnavailableError where Redis does not answer inside."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise no_answer(error) from error
