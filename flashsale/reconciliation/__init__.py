"""Reconciliation: holds the two stores against each other and says what differs; mends nothing."""
