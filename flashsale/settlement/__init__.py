"""Settlement: stream entries become rows in Postgres, the ledger; it never touches stock in Redis."""
