"""The exceptions of reconciliation; what an audit finds is never one of them.

ReconciliationError
├── UnknownSaleError   there is no sale of that id
├── NoCutError         the sale changed faster than both stores could be read
├── NoLedgerError      Postgres did not answer the doctor
├── NotShutError       no SKU of that name is shut
├── NoLetterError      there is no dead letter of that entry
├── StillDriftingError what a SKU was shut for is still so
└── NoStatementError   the provider's statement could not be read
"""

from __future__ import annotations


class ReconciliationError(Exception):
    """An audit that could not be made; one plain line."""


class UnknownSaleError(ReconciliationError):
    """There is no sale of that id."""

    def __init__(self, sale_id: str) -> None:
        super().__init__(f"There is no sale {sale_id!r}.")


class NoCutError(ReconciliationError):
    """Entries were settled and trimmed faster than they could be read, again and again."""

    def __init__(self, sale_id: str) -> None:
        super().__init__(
            f"Sale {sale_id} changes faster than both stores can be read: nothing was judged."
            " Try again."
        )


class NoLedgerError(ReconciliationError):
    """Postgres did not answer the doctor, or refused him."""


class NotShutError(ReconciliationError):
    """There is nothing to reopen."""

    def __init__(self, sale_id: str, sku: str) -> None:
        super().__init__(f"Sale {sale_id} has no SKU {sku!r} that is shut. Nothing was changed.")


class NoLetterError(ReconciliationError):
    """There is no such dead letter, or not any more."""

    def __init__(self, entry_id: str) -> None:
        super().__init__(f"There is no dead letter {entry_id!r}. Nothing was changed.")


class StillDriftingError(ReconciliationError):
    """The two stores still disagree about a SKU that is shut."""

    def __init__(self, sale_id: str, sku: str, broken: str) -> None:
        super().__init__(
            f"SKU {sku!r} of sale {sale_id} stays shut, for it is broken still: {broken}."
            f" `flashsale recover {sale_id}` rebuilds Redis out of Postgres."
        )


class NoStatementError(ReconciliationError):
    """The provider did not hand out its statement."""

    def __init__(self, provider: str, reason: str) -> None:
        super().__init__(f"The statement of {provider} was not compared: {reason}")
