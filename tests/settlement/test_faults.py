"""What an error means: only the data's own errors may put an entry aside."""

from __future__ import annotations

import asyncpg
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from flashsale.reservation.errors import StoreUnavailableError
from flashsale.settlement.faults import Fault, backoff_seconds, fault_of
from flashsale.settlement.plan import UnknownItemError


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (asyncpg.UniqueViolationError(), Fault.AGAIN),
        (asyncpg.DeadlockDetectedError(), Fault.AGAIN),
        (asyncpg.SerializationError(), Fault.AGAIN),
        (asyncpg.CheckViolationError(), Fault.POISON),
        (asyncpg.CharacterNotInRepertoireError(), Fault.POISON),
        (asyncpg.DataError("an int32 argument"), Fault.POISON),
        (UnknownItemError(), Fault.POISON),
        (OverflowError(), Fault.POISON),
        (asyncpg.AdminShutdownError(), Fault.OUTAGE),
        (asyncpg.DiskFullError(), Fault.OUTAGE),
        (asyncpg.ReadOnlySQLTransactionError(), Fault.OUTAGE),
        (asyncpg.InsufficientPrivilegeError(), Fault.OUTAGE),
        (asyncpg.ConnectionDoesNotExistError(), Fault.OUTAGE),
        (asyncpg.IdleInTransactionSessionTimeoutError(), Fault.OUTAGE),
        (asyncpg.InterfaceError("connection is closed"), Fault.OUTAGE),
        (asyncpg.InternalClientError(), Fault.OUTAGE),
        (ConnectionResetError(), Fault.OUTAGE),
        (TimeoutError(), Fault.OUTAGE),
        (RedisConnectionError(), Fault.OUTAGE),
        (StoreUnavailableError(), Fault.OUTAGE),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.name,
)
def test_the_kind_of_an_error(error: Exception, fault: Fault) -> None:
    assert fault_of(error) is fault


def test_waiting_doubles_and_is_bounded() -> None:
    for failures in range(100):
        whole = min(2.0, 0.05 * 2**failures)
        assert whole / 2 <= backoff_seconds(failures) <= whole
