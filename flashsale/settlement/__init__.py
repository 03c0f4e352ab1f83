"""Settlement: stream entries become rows in Postgres, the ledger; never touches Redis' stock."""
