"""Sales: what merchants schedule and the public reads; Postgres intends, Redis acts."""
