"""Pre-orders: supply that is still to come, given to deposits in turn. Never charges by itself."""
