"""Recovery: a sale that Redis no longer holds as Postgres knows it is rebuilt. It sells nothing."""
